"""The export as a row of the queue: one at a time."""

from __future__ import annotations

from mattebox_media import MediaError
from PySide6.QtCore import QObject, Signal

from mattebox_desktop.service.export import Export, ExportRequest
from mattebox_desktop.service.job_view import JobState, JobView

EXPORT_KEY = "export"


class Exports(QObject):
    """Runs exports and tells of them as of jobs.

    Signals: `changed(JobView)`, its key being `EXPORT_KEY`; `failed(what, why, topic)` in words.
    """

    changed = Signal(object)
    failed = Signal(str, str, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._export: Export | None = None

    @property
    def running(self) -> ExportRequest | None:
        """What is being exported now."""
        return None if self._export is None else self._export.request

    def start(self, request: ExportRequest) -> None:
        """Writes the file in the background; refused, in words, while another is being written."""
        if self._export is not None:
            self.failed.emit(
                "One export at a time",
                "An export is still running; wait for it or cancel it in the queue.",
                "",
            )
            return
        export = Export(request, self)
        title = f"Export {request.target.name}"
        export.progress.connect(lambda done, of: self._tell(title, JobState.RUNNING, done / of))
        export.finished.connect(lambda _: self._end(title, JobState.DONE, 1.0))
        export.cancelled.connect(lambda: self._end(title, JobState.CANCELLED, 0.0))
        export.failed.connect(lambda error: self._fail(title, error))
        try:
            export.start()
        except (MediaError, OSError) as error:
            self.failed.emit("The export did not start", str(error), "export")
            return
        self._export = export
        self._tell(title, JobState.RUNNING, 0.0)

    def cancel(self) -> None:
        if self._export is not None:
            self._export.cancel()

    def close(self) -> None:
        """Stops the export; nothing half-written is left."""
        if self._export is not None:
            self._export.close()

    def _tell(self, title: str, state: JobState, fraction: float, error: str = "") -> None:
        self.changed.emit(JobView(EXPORT_KEY, title, state, stage="Writing", fraction=fraction, error=error))

    def _end(self, title: str, state: JobState, fraction: float, error: str = "") -> None:
        if self._export is not None:
            self._export.close()
            self._export.deleteLater()
            self._export = None
        self._tell(title, state, fraction, error)

    def _fail(self, title: str, error: Exception) -> None:
        self._end(title, JobState.FAILED, 0.0, str(error))
        self.failed.emit("The export failed", str(error), "export")
