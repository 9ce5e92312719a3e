"""Makes docs/pictures/*.png from the real application, offscreen, with a real backend.

    python docs/screenshots.py [--clip EDIT_OR_CLIP] [--backbone MODEL] [--steps N] [--out DIR]

Qt needs these Debian packages even offscreen: libgl1 libegl1 libxkbcommon0 libdbus-1-3 libfontconfig1 and a
font (fonts-dejavu-core). The takes of the pictures go to a temporary MATTEBOX_HOME, unless that is set.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
TIMEOUT = 900.0
SIZE = (1440, 900)


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("MATTEBOX_HOME", home)
        return Photographer(arguments).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clip", type=Path, help="an edit file, a project or a clip; default: the sample")
    parser.add_argument("--backbone", help="the model to render with; default: the project's own")
    parser.add_argument("--steps", type=int, help="steps of the render; default: the method's own")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pictures")
    return parser.parse_args()


class Photographer:
    """Opens the desktop, does what a user would do, and takes pictures on the way."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from mattebox_desktop.app import build

        self.arguments = arguments
        self.out: Path = arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.desktop = build()
        self.window = self.desktop.window
        self.workspace = self.desktop.workspace
        self.failures: list[str] = []
        self.workspace.renders.failed.connect(lambda job: self.failures.append(job.error))

    def run(self) -> int:
        self.window.resize(*SIZE)
        self.window.show()
        self._picture("empty")
        self.workspace.backend.start()
        self._open()
        self._regions()
        self._references()
        self._broken_clip()
        rendered = self._render()
        if rendered:
            self._compare()
        self.workspace.project.changes.mark_saved()
        self._stop_backend()
        self.window.close()
        for failure in self.failures:
            print(failure, file=sys.stderr)
        return 0 if rendered else 1

    def _open(self) -> None:
        shown: list[int] = []
        self.workspace.screen.frame_ready.connect(lambda index, _, __: shown.append(index))
        if self.arguments.clip is None:
            self.window.commands.open_sample()
        else:
            self.window.commands.open_path(self.arguments.clip)
        self._until(lambda: bool(shown))

    def _regions(self) -> None:
        """The window with its regions, the playhead in the middle and the brush in hand."""
        self._until(lambda: self.window.edit.chosen is not None)
        clip = self.workspace.project.clip
        self.workspace.go_to(0 if clip is None else clip.frame_count // 2)
        self.window.actions_.brush.trigger()
        self._wait(1.0)
        self._picture("main")
        self.window.edit.more.setChecked(True)
        self.window.edit.why.setChecked(True)
        self._picture("parameters")
        self.window.edit.more.setChecked(False)
        self.window.edit.why.setChecked(False)
        self.window.actions_.select.trigger()

    def _references(self) -> None:
        """Two references of a region, and a wipe between the source and one of them; taken back again."""
        import numpy as np
        from mattebox_desktop.model.session import Compare
        from mattebox_media import open_clip
        from PIL import Image

        workspace, project = self.workspace, self.workspace.project
        clip, region = project.clip, project.regions[0]
        if clip is None:
            return
        frames = (project.in_point, (project.in_point + 2 * project.out_point) // 3)
        with tempfile.TemporaryDirectory() as folder, open_clip(clip.path) as reader:
            for count, frame in enumerate(frames, 1):
                picture, mask = reader.frame(frame)[..., :3], region.masks.mask_at(frame)
                shown = np.zeros(clip.shape, bool) if mask is None else mask > 127
                painted = np.where(shown[..., None], picture[..., (1, 2, 0)], picture)
                Image.fromarray(painted.astype(np.uint8)).save(Path(folder) / f"{frame}.png")
                workspace.references.add_file(Path(folder) / f"{frame}.png", frame, region)
                self._until(lambda count=count: len(project.references) == count)
        session = workspace.session
        session.masks_shown, session.references_shown = False, True
        session.compare, session.wipe = Compare.WIPE, 0.25
        workspace.go_to(frames[1])
        self._wait(1.0)
        self._picture("references")
        session.masks_shown, session.references_shown = True, False
        session.compare, session.wipe = Compare.OFF, 0.5
        for _ in frames:
            project.changes.undo()
        self.window.edit.references.title.setChecked(False)

    def _broken_clip(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            broken = Path(folder) / "holiday.mp4"
            broken.write_bytes(b"this is not a video")
            self.workspace.project.changes.mark_saved()
            self.window.commands.open_path(broken)
            self._until(self.window.notices.isVisible)
            self._picture("error")
            self.window.notices.clear()

    def _render(self) -> bool:
        from mattebox_desktop.model import commands

        project = self.workspace.project
        if self.arguments.backbone:
            commands.set_backbone(project, self.arguments.backbone)
        if self.arguments.steps:
            commands.set_parameter(project, "steps", self.arguments.steps)
        self.window.tabs.setCurrentWidget(self.window.queue)
        self.window.actions_.render.trigger()
        self._until(lambda: self._previewed() or self._ended())
        self._picture("queue")
        self._until(self._ended)
        return len(project.takes) > 0

    def _previewed(self) -> bool:
        return any(job.preview is not None for job in self.workspace.renders.active)

    def _ended(self) -> bool:
        return len(self.workspace.project.takes) > 0 or bool(self.failures)

    def _compare(self) -> None:
        """The wipe between the clip and the take."""
        from mattebox_desktop.model import commands

        project = self.workspace.project
        commands.use_take(project, project.takes[0])
        self.window.tabs.setCurrentWidget(self.window.takes)
        self.window.actions_.masks.trigger()
        self.window.actions_.wipe.trigger()
        self._wait(2.0)
        self._picture("wipe")

    def _picture(self, name: str) -> None:
        self._wait(0.4)
        path = self.out / f"{name}.png"
        self.window.grab().save(str(path))
        print(path)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.desktop.application.processEvents()
            time.sleep(0.005)

    def _until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + TIMEOUT
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"The desktop did not get there within {TIMEOUT:g} s: {self.failures}")
            self._wait(0.05)

    def _stop_backend(self) -> None:
        client = self.workspace.backend.client
        if client is not None:
            client.shutdown()


if __name__ == "__main__":
    sys.exit(main())
