"""Between the desktop's plain values and the messages of the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from mattebox_proto.codecs.frames import decode_image, encode_image
from mattebox_proto.codecs.masks import encode_track
from mattebox_proto.codecs.params import decode_params, encode_params
from mattebox_proto.mattebox.v1 import edit_pb2, jobs_pb2, system_pb2
from numpy.typing import NDArray

from mattebox_desktop.model.curve import with_point
from mattebox_desktop.model.edit_request import EditRequest, RegionRequest
from mattebox_desktop.model.project import Value
from mattebox_desktop.model.region import MaskMode
from mattebox_desktop.service.job_view import (
    CaptionerInfo,
    JobState,
    JobView,
    MethodInfo,
    ModelInfo,
    ParameterInfo,
    TakeView,
)
from mattebox_desktop.service.pixels import eight_bit

_MODES = {
    MaskMode.TIGHT: edit_pb2.MASK_MODE_TIGHT,
    MaskMode.ELLIPSE: edit_pb2.MASK_MODE_ELLIPSE,
    MaskMode.BOX: edit_pb2.MASK_MODE_BOX,
    MaskMode.DILATED: edit_pb2.MASK_MODE_DILATED,
}
_STATES = {
    jobs_pb2.JOB_STATE_QUEUED: JobState.QUEUED,
    jobs_pb2.JOB_STATE_RUNNING: JobState.RUNNING,
    jobs_pb2.JOB_STATE_DONE: JobState.DONE,
    jobs_pb2.JOB_STATE_FAILED: JobState.FAILED,
    jobs_pb2.JOB_STATE_CANCELLED: JobState.CANCELLED,
}
_STAGES = {
    jobs_pb2.STAGE_DECODE: "Reading the clip",
    jobs_pb2.STAGE_MASKS: "Preparing masks",
    jobs_pb2.STAGE_LOAD: "Loading the model",
    jobs_pb2.STAGE_ENCODE: "Encoding frames",
    jobs_pb2.STAGE_TUNE: "Learning the clip",
    jobs_pb2.STAGE_INVERT: "Analysing the clip",
    jobs_pb2.STAGE_SAMPLE: "Rendering",
    jobs_pb2.STAGE_DECODE_LATENTS: "Decoding frames",
    jobs_pb2.STAGE_COMPOSITE: "Compositing",
    jobs_pb2.STAGE_MEASURE: "Measuring",
}


def edit_message(request: EditRequest, clip: str) -> edit_pb2.Edit:
    """clip: the id that the backend gave when it opened the clip."""
    return edit_pb2.Edit(
        clip=clip,
        start=request.start,
        stop=request.stop,
        prompt=request.prompt,
        source_prompt=request.source_prompt,
        method=request.method,
        backbone=request.backbone,
        seed=request.seed,
        regions=[_region_message(region, request.shape) for region in request.regions],
        params=encode_params(request.params),
        references=[
            edit_pb2.Reference(frame=r.frame, region=r.region, image=encode_image(r.pixels))
            for r in request.references
        ],
    )


def _region_message(region: RegionRequest, shape: tuple[int, int]) -> edit_pb2.Region:
    return edit_pb2.Region(
        name=region.name,
        prompt=region.prompt,
        masks=encode_track(_masks(region, shape)),
        mode=_MODES[region.mode],
        dilation=region.dilation,
        feather=region.feather,
        order=region.order,
        words=region.words,
        color=region.color,
    )


def _masks(region: RegionRequest, shape: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    empty = np.zeros(shape, np.uint8)
    return (empty if mask is None else mask for mask in region.masks)


def with_job(view: JobView, job: jobs_pb2.Job) -> JobView:
    """The row, brought up to what the backend says of the job."""
    state = _STATES.get(job.state, view.state)
    view = replace(view, id=job.id, state=state, error=job.error, error_kind=job.error_kind)
    return with_progress(view, job.progress) if job.HasField("progress") else view


def with_event(view: JobView, event: jobs_pb2.JobEvent) -> JobView:
    """The row after one event."""
    match event.WhichOneof("event"):
        case "state":
            if event.HasField("job"):
                return with_job(view, event.job)
            return replace(view, state=_STATES.get(event.state, view.state))
        case "progress":
            return with_progress(replace(view, state=JobState.RUNNING), event.progress)
        case "preview":
            return replace(view, preview=eight_bit(decode_image(event.preview)))
        case "figure":
            told = event.figure
            return replace(view, curves=with_point(view.curves, told.name, told.step, told.value, told.of))
        case _:
            return view


def with_progress(view: JobView, progress: jobs_pb2.JobProgress) -> JobView:
    return replace(
        view,
        stage=_STAGES.get(progress.stage, ""),
        step=progress.step,
        of=progress.of,
        fraction=min(1.0, max(0.0, progress.fraction)),
        eta=progress.eta_seconds if progress.eta_seconds >= 0 else None,
    )


def take_view(take: jobs_pb2.Take) -> TakeView:
    report: Any = json.loads(take.report_json) if take.report_json else {}
    return TakeView(
        id=take.id,
        job=take.job,
        clip=take.clip,
        path=take.path,
        start=take.start,
        stop=take.stop,
        seed=take.edit.seed,
        prompt=take.edit.prompt,
        made=_iso(take.made),
        report=report if isinstance(report, dict) else {},
    )


def method_infos(methods: Sequence[system_pb2.Method]) -> list[MethodInfo]:
    return [
        MethodInfo(
            method.id,
            method.title or method.id,
            method.summary,
            method.available,
            tuple(_parameter(parameter) for parameter in method.parameters),
            method.takes_references,
            tuple(method.families),
        )
        for method in methods
    ]


def model_infos(models: Sequence[system_pb2.Model]) -> list[ModelInfo]:
    return [
        ModelInfo(
            model.id,
            model.family,
            model.available,
            model.note,
            {method: decode_params(defaults.params) for method, defaults in model.defaults.items()},
            model.shipped,
        )
        for model in models
    ]


def captioner_info(listed: system_pb2.ListModelsResponse) -> CaptionerInfo:
    return CaptionerInfo(any(model.available for model in listed.captioners), listed.captioner_note)


def _parameter(parameter: system_pb2.MethodParameter) -> ParameterInfo:
    default: Value = json.loads(parameter.default_json) if parameter.default_json else ""
    return ParameterInfo(
        name=parameter.name,
        kind=parameter.type,
        default=default,
        unit=parameter.unit,
        description=parameter.description,
        low=parameter.minimum if parameter.bounded else None,
        high=parameter.maximum if parameter.bounded else None,
        choices=tuple(parameter.choices),
    )


def _iso(time: Timestamp) -> str:
    return str(time.ToJsonString())
