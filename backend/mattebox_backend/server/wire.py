"""Messages of the contract ⇄ the backend's values."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from mattebox_proto.codecs.frames import decode_image, encode_image
from mattebox_proto.codecs.masks import decode_track
from mattebox_proto.codecs.params import decode_params
from mattebox_proto.mattebox.v1 import clips_pb2, edit_pb2, jobs_pb2, media_pb2
from numpy.typing import NDArray

from mattebox_backend.edit import ControlChoice, Edit, MaskMode, Reference, Region
from mattebox_backend.errors import InvalidEdit, NotFound, TooLarge
from mattebox_backend.jobs.clips import OpenedClip
from mattebox_backend.jobs.previews import Preview
from mattebox_backend.jobs.takes import Take
from mattebox_backend.jobs.values import Event, Figure, Job, JobState, LogLine, Progress, StateChange

if TYPE_CHECKING:
    from mattebox_backend.lora.planner import Plan
    from mattebox_backend.render.forecast import Forecast

_MODES = {
    edit_pb2.MASK_MODE_UNSPECIFIED: MaskMode.TIGHT,
    edit_pb2.MASK_MODE_TIGHT: MaskMode.TIGHT,
    edit_pb2.MASK_MODE_ELLIPSE: MaskMode.ELLIPSE,
    edit_pb2.MASK_MODE_BOX: MaskMode.BOX,
    edit_pb2.MASK_MODE_DILATED: MaskMode.DILATED,
}
_STATES = {
    JobState.QUEUED: jobs_pb2.JOB_STATE_QUEUED,
    JobState.RUNNING: jobs_pb2.JOB_STATE_RUNNING,
    JobState.DONE: jobs_pb2.JOB_STATE_DONE,
    JobState.FAILED: jobs_pb2.JOB_STATE_FAILED,
    JobState.CANCELLED: jobs_pb2.JOB_STATE_CANCELLED,
}
_STATES_BACK = {number: state for state, number in _STATES.items()}


def edit_of(message: edit_pb2.Edit, clip: OpenedClip, *, mask_limit: int) -> Edit:
    """The edit of a message, its pixels unpacked; mask_limit: their bytes, at most.

    Raises InvalidEdit, TooLarge, and InvalidMessage for what breaks the contract's own rules.
    """
    frames = message.stop - message.start
    if frames <= 0:
        raise InvalidEdit(
            f"The range [{message.start}, {message.stop}) holds no frame; choose a stop after the start."
        )
    if message.stop > clip.info.frame_count:
        raise InvalidEdit(
            f"The range [{message.start}, {message.stop}) goes beyond the clip, which has "
            f"{clip.info.frame_count} frames."
        )
    unpacked = frames * clip.info.width * clip.info.height * len(message.regions)
    if unpacked > mask_limit:
        raise TooLarge(
            f"The masks of {len(message.regions)} regions over {frames} frames of {clip.info.width}x"
            f"{clip.info.height} take {unpacked >> 20} MiB, and the limit is {mask_limit >> 20} MiB; "
            "choose a shorter range (or raise mask_limit in backend.toml)."
        )
    given = len(message.condition_pictures)
    pictures = given * clip.info.width * clip.info.height * 3
    if pictures > mask_limit:
        raise TooLarge(
            f"The {given} condition pictures of {clip.info.width}x{clip.info.height} take "
            f"{pictures >> 20} MiB, and the limit is {mask_limit >> 20} MiB; choose a shorter range (or "
            "raise mask_limit in backend.toml)."
        )
    return Edit(
        clip=clip.path,
        clip_hash=clip.id,
        start=message.start,
        stop=message.stop,
        prompt=message.prompt,
        source_prompt=message.source_prompt,
        method=message.method,
        backbone=message.backbone,
        seed=message.seed,
        regions=tuple(_region(region, clip, frames) for region in message.regions),
        references=tuple(_reference(reference, clip) for reference in message.references),
        params=decode_params(message.params),
        condition_pictures=_condition_pictures(message, clip),
        inspect=message.inspect,
        controls=tuple(ControlChoice(c.name, decode_params(c.params)) for c in message.controls),
    )


def without_pixels(message: edit_pb2.Edit) -> edit_pb2.Edit:
    """A copy that leaves out masks and pictures."""
    slim = edit_pb2.Edit()
    slim.CopyFrom(message)
    for region in slim.regions:
        region.ClearField("masks")
    for reference in slim.references:
        reference.ClearField("image")
    slim.ClearField("condition_pictures")
    return slim


def pack_edit(message: edit_pb2.Edit) -> bytes:
    """As the job database keeps it. zlib's quickest level: reference pictures are raw, masks are small."""
    return zlib.compress(message.SerializeToString(), level=1)


def unpack_edit(packed: bytes) -> edit_pb2.Edit:
    return edit_pb2.Edit.FromString(zlib.decompress(packed))


def edit_to_json(message: edit_pb2.Edit) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return content


def clip_message(clip: OpenedClip) -> clips_pb2.Clip:
    info = clip.info
    return clips_pb2.Clip(
        id=clip.id,
        path=str(clip.path),
        width=info.width,
        height=info.height,
        frames=info.frame_count,
        frame_rate=_rational(info.fps),
        bit_depth=info.bit_depth,
        has_alpha=info.has_alpha,
        has_audio=info.has_audio,
    )


def job_message(job: Job) -> jobs_pb2.Job:
    return jobs_pb2.Job(
        id=job.id,
        state=_STATES[job.state],
        title=job.title,
        submitted=_timestamp(job.submitted),
        started=_timestamp(job.started),
        ended=_timestamp(job.ended),
        error=job.error,
        error_kind=job.error_kind,
        take=job.take,
        clip=job.clip,
        progress=None if job.progress is None else _progress(job.progress),
        resumes=job.resumes,
    )


def event_message(event: Event | Preview) -> jobs_pb2.JobEvent:
    if isinstance(event, Preview):
        return jobs_pb2.JobEvent(sequence=event.sequence, preview=encode_image(event.image))
    message = jobs_pb2.JobEvent(sequence=event.sequence, time=_timestamp(event.time))
    match event.what:
        case StateChange(job):
            message.state = _STATES[job.state]
            message.job.CopyFrom(job_message(job))
        case LogLine(text):
            message.log = text
        case Progress() as progress:
            message.progress.CopyFrom(_progress(progress))
        case Figure(name, step, of, value):
            message.figure.CopyFrom(jobs_pb2.Figure(name=name, step=step, of=of, value=value))
    return message


def plan_message(forecast: Forecast) -> jobs_pb2.MemoryPlan:
    return jobs_pb2.MemoryPlan(
        backbone=forecast.backbone,
        device=forecast.device.name,
        dtype=forecast.device.precision,
        memory=round(forecast.memory),
        width=forecast.size.width,
        height=forecast.size.height,
        frames=forecast.frames,
        blocks=forecast.blocks,
        training=_work_plan(forecast.training, forecast.training_frames),
        generation=_work_plan(forecast.generation, forecast.generation_frames),
        autoencoder=round(forecast.autoencoder),
        autoencoder_tiles=forecast.tiled,
        prompt=forecast.prompt,
    )


def _work_plan(plan: Plan, frames: int) -> jobs_pb2.WorkPlan:
    expected = plan.expected
    return jobs_pb2.WorkPlan(
        frames=frames,
        checkpointing=plan.settings.checkpointing,
        blocks_to_swap=plan.settings.blocks_to_swap,
        weights=round(expected.weights),
        activations=round(expected.activations),
        adapter=round(expected.adapter),
        optimiser=round(expected.optimiser),
    )


def take_message(take: Take, *, path: str, report: str) -> jobs_pb2.Take:
    return jobs_pb2.Take(
        id=take.id,
        job=take.job,
        clip=take.clip,
        start=take.start,
        stop=take.stop,
        width=take.width,
        height=take.height,
        frame_rate=_rational(take.fps),
        made=_timestamp(take.made),
        path=path,
        report_json=report,
        edit=json_format.ParseDict(dict(take.edit), edit_pb2.Edit(), ignore_unknown_fields=True),
        clip_path=take.clip_path,
    )


def inspection_messages(folder: Path) -> Iterator[jobs_pb2.InspectionMap]:
    """Every map that an inspected run left in a folder, step by step. Raises NotFound where it is damaged."""
    from mattebox_backend.diffusion.inspection import read_clusters, read_inspection  # loads torch

    try:
        words, looks = read_inspection(folder)
        clusters = read_clusters(folder)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise NotFound(
            f"What was kept in {folder} is damaged ({error}); render the edit again with inspect = true."
        ) from error
    if clusters is not None:
        kind = jobs_pb2.InspectionMap.KIND_CLUSTERS
        yield _inspection_map(0, clusters.level, clusters.labels, kind, "clusters")
    for look in looks:
        at = look.index, look.level
        for position, (word, values) in enumerate(zip(words, look.attention, strict=True)):
            yield _inspection_map(
                *at, values, jobs_pb2.InspectionMap.KIND_ATTENTION, word.text, position, word.region
            )
        for name, values in sorted(look.controls.items()):
            yield _inspection_map(*at, values, jobs_pb2.InspectionMap.KIND_CONTROL, name)


def _inspection_map(
    step: int,
    level: float,
    values: NDArray[np.float16] | NDArray[np.uint8],
    kind: jobs_pb2.InspectionMap.Kind.ValueType,
    name: str,
    position: int = 0,
    region: str = "",
) -> jobs_pb2.InspectionMap:
    frames, height, width = values.shape
    return jobs_pb2.InspectionMap(
        kind=kind,
        name=name,
        position=position,
        region=region,
        step=step,
        level=level,
        frames=frames,
        height=height,
        width=width,
        values=values.astype("<f2").tobytes(),
    )


def states_of(numbers: list[int]) -> list[JobState]:
    """Raises InvalidEdit for a state that this version does not know."""
    for number in numbers:
        if number not in _STATES_BACK:
            raise InvalidEdit(
                f"There is no job state {number} in this version; leave it out, or update the backend."
            )
    return [_STATES_BACK[jobs_pb2.JobState.ValueType(number)] for number in numbers]


def _region(message: edit_pb2.Region, clip: OpenedClip, frames: int) -> Region:
    mode = _MODES.get(message.mode)
    if mode is None:
        raise InvalidEdit(
            f"The mask mode {message.mode} of region “{message.name}” is not known to this version; use "
            "tight, ellipse, box or dilated."
        )
    name = f"region “{message.name}”"
    masks = decode_track(
        message.masks, frames=frames, height=clip.info.height, width=clip.info.width, name=name
    )
    return Region(
        name=message.name,
        prompt=message.prompt,
        masks=masks,
        mode=mode,
        dilation=message.dilation,
        feather=message.feather,
        order=message.order,
        words=tuple(message.words),
        color=message.color,
    )


def _condition_pictures(message: edit_pb2.Edit, clip: OpenedClip) -> NDArray[np.uint8] | None:
    """(n, H, W, 3), n being the message's business; None where it has none."""
    if not message.condition_pictures:
        return None
    height, width = clip.info.height, clip.info.width
    pictures = np.empty((len(message.condition_pictures), height, width, 3), np.uint8)
    for index, picture in enumerate(message.condition_pictures):
        if picture.layout != media_pb2.PIXEL_LAYOUT_RGB8:
            raise InvalidEdit(f"The condition picture {index} is not 8-bit RGB; convert it first.")
        if (picture.width, picture.height) != (width, height):
            raise InvalidEdit(
                f"The condition picture {index} is {picture.width}x{picture.height}, and the clip is "
                f"{width}x{height}; scale it to the clip's size."
            )
        pictures[index] = decode_image(picture)
    return pictures


def _reference(message: edit_pb2.Reference, clip: OpenedClip) -> Reference:
    image = decode_image(message.image)
    if message.image.layout != media_pb2.PIXEL_LAYOUT_RGB8:
        raise InvalidEdit(f"The reference of frame {message.frame} is not 8-bit RGB; convert it first.")
    if image.shape[:2] != (clip.info.height, clip.info.width):
        raise InvalidEdit(
            f"The reference of frame {message.frame} is {image.shape[1]}x{image.shape[0]}, and the clip is "
            f"{clip.info.width}x{clip.info.height}; scale it to the clip's size."
        )
    return Reference(frame=message.frame, image=image.astype(np.uint8, copy=False), region=message.region)


def _progress(progress: Progress) -> jobs_pb2.JobProgress:
    return jobs_pb2.JobProgress(
        stage=jobs_pb2.Stage.Value(f"STAGE_{progress.stage.upper()}"),
        step=progress.step,
        of=progress.of,
        eta_seconds=-1.0 if progress.eta_seconds is None else progress.eta_seconds,
        fraction=progress.fraction,
    )


def _timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    stamp = Timestamp()
    stamp.FromNanoseconds(round(seconds * 1e9))
    return stamp


def _rational(number: Fraction) -> media_pb2.Rational:
    return media_pb2.Rational(numerator=number.numerator, denominator=number.denominator)
