"""The System service: the handshake, the device, caches, models and methods."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import grpc
from mattebox_proto.codecs.params import encode_params
from mattebox_proto.mattebox.v1 import system_pb2, system_pb2_grpc
from mattebox_proto.version import CONTRACT, mismatch, version

from mattebox_backend.jobs.caches import Caches
from mattebox_backend.jobs.engine import Engine
from mattebox_backend.models.registry import ModelEntry, ModelRegistry, shipped_folder
from mattebox_backend.settings import Settings, Storage


class SystemServicer(system_pb2_grpc.SystemServicer):
    """The backend about itself. stop: asks the process to end."""

    def __init__(
        self,
        *,
        engine: Engine,
        models: ModelRegistry,
        caches: Caches,
        settings: Settings,
        storage: Storage,
        stop: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._models = models
        self._caches = caches
        self._settings = settings
        self._storage = storage
        self._stop = stop

    def Handshake(
        self, request: system_pb2.HandshakeRequest, context: grpc.ServicerContext
    ) -> system_pb2.HandshakeResponse:
        words = mismatch(request.client_version, request.contract, version(), CONTRACT)
        return system_pb2.HandshakeResponse(
            backend_version=version(), contract=CONTRACT, compatible=not words, message=words
        )

    def GetInfo(self, request: system_pb2.GetInfoRequest, context: grpc.ServicerContext) -> system_pb2.Info:
        device = self._engine.device()
        return system_pb2.Info(
            version=version(),
            device=device.name,
            device_name=device.title,
            dtype=device.dtype,
            memory_bytes=device.memory,
            memory_free_bytes=device.free,
            home=str(self._storage.folders.data),
            log_path=str(self._storage.folders.backend_log),
            pid=os.getpid(),
            max_message_bytes=self._settings.message_limit,
        )

    def GetCache(
        self, request: system_pb2.GetCacheRequest, context: grpc.ServicerContext
    ) -> system_pb2.CacheUsage:
        return self._usage()

    def ClearCache(
        self, request: system_pb2.ClearCacheRequest, context: grpc.ServicerContext
    ) -> system_pb2.CacheUsage:
        self._caches.clear(list(request.kinds))
        return self._usage()

    def ListModels(
        self, request: system_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> system_pb2.ListModelsResponse:
        return system_pb2.ListModelsResponse(
            models=[_model(entry) for entry in self._models.entries()],
            captioners=[_model(entry) for entry in self._models.captioners()],
            captioner_note=self._models.captioner_note(),
        )

    def ListMethods(
        self, request: system_pb2.ListMethodsRequest, context: grpc.ServicerContext
    ) -> system_pb2.ListMethodsResponse:
        return system_pb2.ListMethodsResponse(methods=_methods())

    def Shutdown(
        self, request: system_pb2.ShutdownRequest, context: grpc.ServicerContext
    ) -> system_pb2.ShutdownResponse:
        self._stop()
        return system_pb2.ShutdownResponse()

    def _usage(self) -> system_pb2.CacheUsage:
        kinds = [
            system_pb2.CacheUsage.Kind(name=use.name, path=str(use.path), bytes=use.size, entries=use.entries)
            for use in self._caches.usage()
        ]
        return system_pb2.CacheUsage(kinds=kinds, limit_bytes=self._caches.limit_bytes)


def _model(entry: ModelEntry) -> system_pb2.Model:
    return system_pb2.Model(
        id=entry.id,
        family=entry.family,
        location=entry.location,
        available=entry.available,
        note=entry.note,
        shipped=Path(entry.location).is_relative_to(shipped_folder()),
        defaults={
            method: system_pb2.Model.MethodDefaults(params=encode_params(params))
            for method, params in entry.defaults.items()
        },
    )


def _methods() -> list[system_pb2.Method]:
    from mattebox_backend.methods import describe_methods

    return [
        system_pb2.Method(
            id=method.name,
            title=method.title,
            summary=method.summary,
            available=method.available,
            parameters=[
                system_pb2.MethodParameter(
                    name=parameter.name,
                    type="text" if parameter.kind == "choice" else parameter.kind,
                    default_json=json.dumps(parameter.default),
                    unit=parameter.unit,
                    description=parameter.description,
                    minimum=parameter.minimum or 0.0,
                    maximum=parameter.maximum or 0.0,
                    choices=[str(choice) for choice in parameter.choices],
                    bounded=parameter.minimum is not None and parameter.maximum is not None,
                )
                for parameter in method.parameters
            ],
            takes_references=method.takes_references,
            families=method.families,
        )
        for method in describe_methods()
    ]
