"""``img2poem serve``: run the Triton server, or only check whether it can run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..artifacts.installed import EXPORTED
from ..errors import InvalidOption
from ..files.reading import read_limited
from ..serving.checkup import EXPOSED, check_up
from ..serving.server import TritonServer
from ..serving.settings import LogLevel, ModelControl, Ports, ServerSettings, ServerTls
from ..serving.supervisor import RestartPolicy, supervise
from ..system.findings import Verdict
from .console import reporting, say, tell, until_interrupted

_WHERE, _SAFETY, _RUN, _WATCH = "Addresses", "Security", "Running", "Logs and traces"


def serve(
    repository: Annotated[Path, typer.Argument(help="Model repository to serve.")] = EXPORTED,
    host: Annotated[
        str,
        typer.Option(help="IPv4 address for gRPC; any but loopback exposes the server.", rich_help_panel=_WHERE),
    ] = "127.0.0.1",
    http_host: Annotated[
        str,
        typer.Option(
            help="IPv4 address for REST and metrics, which have no TLS and no limit on the size of requests.",
            rich_help_panel=_WHERE,
        ),
    ] = "127.0.0.1",
    http_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the REST protocol.", rich_help_panel=_WHERE)
    ] = 8000,
    grpc_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the gRPC protocol.", rich_help_panel=_WHERE)
    ] = 8001,
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the Prometheus metrics.", rich_help_panel=_WHERE)
    ] = 8002,
    grpc_cert: Annotated[
        Path | None, typer.Option(help="PEM certificate of the server; makes TLS required.", rich_help_panel=_SAFETY)
    ] = None,
    grpc_key: Annotated[Path | None, typer.Option(help="PEM key of the certificate.", rich_help_panel=_SAFETY)] = None,
    grpc_ca: Annotated[
        Path | None,
        typer.Option(help="PEM CA certificates; clients then need a certificate too.", rich_help_panel=_SAFETY),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the key for the model-repository, logging, trace and shared-memory interfaces.",
            show_default="no key: they stay closed",
            rich_help_panel=_SAFETY,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(help="Refuse a repository with changed, missing or added files.", rich_help_panel=_SAFETY),
    ] = True,
    model_control: Annotated[
        ModelControl,
        typer.Option(
            help="What may change the loaded models: nothing, callers with the key, or changes of the repository.",
            rich_help_panel=_RUN,
        ),
    ] = ModelControl.none,
    ready_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds in which all models must become ready.", rich_help_panel=_RUN)
    ] = 120.0,
    drain_timeout: Annotated[
        float,
        typer.Option(min=1, help="Seconds that running requests get to finish at shutdown.", rich_help_panel=_RUN),
    ] = 20.0,
    restarts: Annotated[
        int, typer.Option(min=0, help="Restarts after crashes before giving up.", rich_help_panel=_RUN)
    ] = 5,
    restart_window: Annotated[
        float, typer.Option(min=0.1, help="Minutes in which restarts are counted.", rich_help_panel=_RUN)
    ] = 10.0,
    cache_mb: Annotated[
        int,
        typer.Option(
            min=0,
            help="MiB of response cache for ensembles. All callers must then request the same outputs.",
            rich_help_panel=_RUN,
        ),
    ] = 0,
    log_level: Annotated[
        LogLevel, typer.Option(help="Log level of the server.", rich_help_panel=_WATCH)
    ] = LogLevel.info,
    log_file: Annotated[
        Path | None, typer.Option(help="Append the server's own log to this file.", rich_help_panel=_WATCH)
    ] = None,
    trace_config: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[MODE,]SETTING=VALUE",
            help="Triton's trace setting of the same name; may be repeated.",
            rich_help_panel=_WATCH,
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only check machine and repository; exit status 1 if a check fails.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print the findings as JSON.")] = False,
) -> None:
    """Serve a model repository with Triton Inference Server until Ctrl-C or SIGTERM."""
    with reporting():
        settings = ServerSettings(
            host=host,
            http_host=http_host,
            tls=_tls(grpc_cert, grpc_key, grpc_ca),
            api_key=_secret(api_key_file),
            log_level=log_level,
            model_control=model_control,
            drain_timeout=drain_timeout,
            trace=tuple(trace_config or ()),
            cache_mb=cache_mb,
            verify=verify,
        )
        ports = Ports(http_port, grpc_port, metrics_port)
        if as_json and not check:
            raise InvalidOption("--json goes with --check")
        if check:
            _check(repository, ports, settings, as_json)
        else:
            server = TritonServer(repository, ports, settings, log=log_file, ready_timeout=ready_timeout)
            _run(server, RestartPolicy(restarts, restart_window * 60))


def _run(server: TritonServer, policy: RestartPolicy) -> None:
    if not server.settings.is_local:
        tell(f"warning: listening on {server.settings.open_addresses}: {EXPOSED}")
    tell(f"starting Triton on {server.repository} ...")
    with until_interrupted(), server:
        tell(f"ready: {server.grpc_url} {server.http_url} (Ctrl-C stops)")
        supervise(server, policy, tell)


def _check(repository: Path, ports: Ports, settings: ServerSettings, as_json: bool) -> None:
    findings = check_up(repository, ports, settings)
    failed = any(finding.verdict is Verdict.failed for finding in findings)
    if as_json:
        say(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            say(f"{finding.verdict.value:8} {finding.check}: {finding.detail}")
            if finding.advice:
                say(f"{'':8} -> {finding.advice}")
    if failed:
        raise typer.Exit(1)


def _tls(certificate: Path | None, key: Path | None, ca: Path | None) -> ServerTls | None:
    if certificate is not None and key is not None:
        return ServerTls(certificate, key, ca)
    if certificate is not None or key is not None or ca is not None:
        raise InvalidOption("TLS needs both --grpc-cert and --grpc-key; --grpc-ca needs them too")
    return None


def _secret(path: Path | None) -> str | None:
    """Read the key from a file: every user of the machine can read command lines."""
    if path is None:
        return None
    try:
        return read_limited(path).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise InvalidOption(f"{path} holds no key: {getattr(error, 'strerror', None) or error}") from None
