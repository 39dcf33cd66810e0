"""The assembled local cloud: AWS, the stand-in for Replicate, and the functions that template.yaml connects to them."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
import httpx
from botocore.config import Config

from tests.localcloud import aws, decisions, limits, provision, replicate, roles, template
from tests.localcloud.event_bus import EventBus
from tests.localcloud.event_sources import EventSources, workers_of_queues
from tests.localcloud.functions import Functions, Machine
from tests.localcloud.http_api import Gateway
from tests.localcloud.http_server import HttpServer, Response
from tests.localcloud.policies import Call
from tests.localcloud.streams import Streams
from tests.support.cognito import sign_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.localcloud.aws_names import AwsNames
    from tests.localcloud.internet import Internet
    from tests.localcloud.stack import Stack

WORKERS = 4  # processes of each function, at most
QUEUES = {
    "generation": "GenerationQueueUrl",
    "generation_dlq": "GenerationDeadLetterQueueUrl",
    "watchdog": "WatchdogQueueUrl",
    "watchdog_dlq": "WatchdogDeadLetterQueueUrl",
}


@dataclass(frozen=True)
class Cloud:
    """A running local cloud."""

    api: str  # URL
    tokens: tuple[str, ...]  # of two different users; empty if JwtIssuer is set
    aws: Machine
    stack: Stack
    log: Path  # the log lines of all functions, as CloudWatch would receive them
    functions: Functions
    replicate: replicate.StandIn | None  # None if another server plays Replicate
    pids_url: str
    servers: dict[str, int]  # pids of the processes that the cloud cannot run without, by description

    @property
    def bucket(self) -> str:
        return self.stack.outputs["Bucket"]

    @property
    def table(self) -> str:
        return self.stack.outputs["Table"]

    @property
    def queues(self) -> dict[str, str]:
        """The queues' URLs, by the names in QUEUES."""
        return {name: self.stack.outputs[output] for name, output in QUEUES.items()}

    def pids(self) -> dict[str, list[int]]:
        """Return the ids of the running function processes, by the function's folder name."""
        return self.functions.pids()

    def wait_until_a_server_ends(self) -> str:
        """Wait until one of `servers` has ended; return its description."""
        ended: SimpleQueue[str] = SimpleQueue()

        def watch(name: str, pid: int) -> None:
            with suppress(ChildProcessError):  # the cloud has stopped it already
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
                ended.put(name)

        for name, pid in self.servers.items():
            threading.Thread(target=watch, args=(name, pid), name=f"watch-{pid}", daemon=True).start()
        return ended.get()

    def description(self) -> dict[str, object]:
        """Return what `serve --json` prints for programs."""
        return {
            "api": self.api,
            "tokens": list(self.tokens),
            "aws": {
                "endpoint": self.aws.endpoint,
                "region": self.aws.region,
                "access_key_id": self.aws.access_key_id,
                "secret_access_key": self.aws.secret_access_key,
            },
            "bucket": self.bucket,
            "table": self.table,
            "queues": self.queues,
            "pids": self.pids_url,
            "log": str(self.log),
        }


@contextmanager
def local_cloud(  # noqa: PLR0913  # options, all by keyword
    parameters: Mapping[str, str] | None = None,
    *,
    replicate_url: str | None = None,
    workers: int = WORKERS,
    port: int = 0,
    stack_name: str = template.STACK_NAME,
    moto: Future[aws.Aws] | None = None,
    concurrency: int = limits.ACCOUNT,
    names: AwsNames | None = None,
    internet: Internet | None = None,
) -> Iterator[Cloud]:
    """Run a local cloud until the context ends.

    Args:
        parameters: Template parameters, as `sam deploy --parameter-overrides` takes them.
        replicate_url: A server that speaks Replicate's API, instead of the stand-in.
        workers: Processes of each function, at most.
        port: The API's port; 0 takes a free one.
        stack_name: The name, as `sam deploy --stack-name` takes it.
        moto: An AWS server that is starting already. The cloud takes it over and stops it.
        concurrency: The account's concurrent executions. An invocation beyond them is refused.
        names: AWS's names, in any region. The stack's URLs have them, and the functions use them.
        internet: Hosts on the internet that servers of this machine play for the functions.

    Raises:
        template.TemplateError: The template or a parameter is wrong or not understood, or a role lacks a permission
            that is needed at the start.
        OSError: The port is in use.
        RuntimeError: A server did not start.
    """
    given = dict(parameters or {})
    token = secrets.token_hex(20)
    with ExitStack() as stack:
        starting = stack.enter_context(ThreadPoolExecutor())
        moto = moto or starting.submit(aws.start)
        stack.callback(_stop, moto)
        known = template.load(overrides=given).parameters
        api = stack.enter_context(HttpServer(port))
        stand_in = None
        if "ReplicateBaseUrl" not in given:
            if replicate_url is None:
                stand_in = starting.submit(replicate.start, token, allow_http_webhooks=True)
                stack.callback(_stop, stand_in)
            else:
                token = os.environ.get("REPLICATE_API_TOKEN", token)
            given["ReplicateBaseUrl"] = stand_in.result().url if stand_in else str(replicate_url)
            host = urlsplit(given["ReplicateBaseUrl"]).hostname
            for hosts in ("AllowedOutputHosts", "ReplicateDeliveryHosts"):
                given[hosts] = f"{known[hosts]},{host}"
        machine = Machine(
            moto.result().endpoint,
            names.region if names else template.REGION,
            aws.ACCOUNT,
            aws.ACCESS_KEY_ID,
            aws.SECRET_ACCESS_KEY,
            names=names,
            internet=internet,
        )
        if names:
            names.route(aws=machine.endpoint, api=api.url)
        _put_token(machine, known["ReplicateTokenParameter"], token)
        made = provision.provision(
            template.TEMPLATE,
            given,
            endpoint=machine.endpoint,
            api_url=names.api_url if names else api.url,
            stack_name=stack_name,
            region=machine.region,
            account=machine.account,
        )
        log = Path(tempfile.mkstemp(prefix="triptych-", suffix=".log")[1])
        machines = _take_on_roles(machine, made)
        # Other stacks and regions have other ARNs, and their requests are the same.
        if decisions.RECORD in os.environ and stack_name == template.STACK_NAME and names is None:
            stack.callback(_record, machine)
        functions = stack.enter_context(
            Functions(
                made.functions,
                machines,
                workers=workers,
                log=log,
                concurrency=concurrency,
                more_workers=workers_of_queues(made.event_sources, workers),
            )
        )
        stack.enter_context(
            EventBus(
                made.event_targets,
                machine,
                functions.log,
                stack_name=stack_name,
                queues=made.queue_targets,
            )
        )
        stack.enter_context(Streams(made.streams, functions, machines))
        stack.enter_context(EventSources(made.event_sources, functions, machines, workers=workers))
        api.start(Gateway(made.http_api, functions, cognito=machine.endpoint, account=machine.account))
        stack.callback(api.stop)  # runs first, so that no new request arrives while the rest stops
        pids = stack.enter_context(HttpServer().start(lambda _: _json(functions.pids())))
        cognito = _session(machine).client(
            "cognito-idp", endpoint_url=machine.endpoint, config=Config(proxies={})
        )
        tokens = sign_up(cognito, made.outputs)
        servers = {"the AWS server (moto)": moto.result().process.pid}
        if stand_in:
            servers["the stand-in for Replicate"] = stand_in.result().pid
        yield Cloud(
            api=api.url,
            tokens=tokens,
            aws=machine,
            stack=made,
            log=log,
            functions=functions,
            replicate=stand_in.result() if stand_in else None,
            pids_url=pids.url,
            servers=servers,
        )


def _stop(part: Future[aws.Aws] | Future[replicate.StandIn]) -> None:
    with suppress(RuntimeError):  # it did not start, and the error has been raised already
        part.result().stop()


def _json(value: object) -> Response:
    return Response(200, (("content-type", "application/json"),), json.dumps(value).encode())


def _take_on_roles(machine: Machine, stack: Stack) -> dict[str, Machine]:
    """Return each function's machine, by logical id, with credentials of the function's role.

    AWS also acts under roles without a request that shows here: EventBridge's calls, and writing logs. These calls are
    checked once, now.

    Raises:
        template.TemplateError: A role does not permit one of these calls.
    """
    sessions = roles.take_on(machine.endpoint, stack.policies)
    unseen = [(sessions[role].access_key_id, call) for role, call in _unseen_calls(stack)]
    for judged in roles.use(machine.endpoint, unseen):
        if not judged.permissions:
            raise template.TemplateError(f"{judged.role}: its role does not permit {judged.call}")
    return {
        name: replace(
            machine,
            access_key_id=sessions[name].access_key_id,
            secret_access_key=sessions[name].secret_access_key,
            session_token=sessions[name].session_token,
        )
        for name in stack.functions
    }


def _record(machine: Machine) -> None:
    """Write the decisions on all calls under a role, unless the AWS server has died."""
    with suppress(httpx.TransportError):
        decisions.write(
            decisions.decision(one.role, one.call, allowed=bool(one.permissions))
            for one in roles.recorded(machine.endpoint)
        )


def _unseen_calls(stack: Stack) -> Iterable[tuple[str, Call]]:
    """Yield the calls, each with its role, that AWS makes without a request."""
    for name, function in stack.functions.items():
        group = f"arn:aws:logs:{stack.region}:{stack.account}:log-group:{function.log_group}"
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            yield name, Call(action, f"{group}:log-stream:local")
    for target in stack.event_targets:
        yield target.role, Call("events:InvokeApiDestination", target.arn)


def _session(machine: Machine) -> boto3.session.Session:
    return boto3.session.Session(machine.access_key_id, machine.secret_access_key, region_name=machine.region)


def _put_token(machine: Machine, name: str, token: str) -> None:
    ssm = _session(machine).client("ssm", endpoint_url=machine.endpoint, config=Config(proxies={}))
    ssm.put_parameter(Name=name, Value=token, Type="SecureString", Overwrite=True)
