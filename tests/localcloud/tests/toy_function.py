"""A function for tests whose event commands it: sleep, raise, exit, print and more."""

from __future__ import annotations

from pathlib import Path

from tests.localcloud import limits
from tests.localcloud.functions import Functions, Machine
from tests.localcloud.stack import Function

HANDLER = """
import json, os, sys, time
print("init")
if os.environ.get("BROKEN"):
    raise RuntimeError("no init today")

def handler(event, context):
    print("saw", json.dumps(event))
    for step, value in event.items():
        if step == "sleep":
            time.sleep(value)
        elif step == "raise":
            raise ValueError(value)
        elif step == "exit":
            print("a line without an end", end="")
            os._exit(value)
        elif step == "signal":
            os.kill(os.getpid(), value)
        elif step == "print":
            for _ in range(200):
                print(value * 100)
        elif step == "allocate":
            taken = bytearray(value * 2**20)
            del taken
        elif step == "write":
            path, size = value
            with open(path, "wb") as file:
                file.write(bytes(size * 2**20))
        elif step == "list":
            return os.listdir(value)
        elif step == "large":
            return "x" * value
        elif step == "hold":
            open(value + ".held", "w").close()
            while not os.path.exists(value):
                time.sleep(0.005)
        elif step == "look":
            return {
                "environment": dict(os.environ), "path": sys.path, "pid": os.getpid(), "cwd": os.getcwd(),
                "arn": context.invoked_function_arn, "left": context.get_remaining_time_in_millis(),
                "id": context.aws_request_id,
            }
        elif step == "Records":
            with open(os.environ["SEEN"], "a") as file:
                file.write(json.dumps(event) + "\\n")
            bodies = {record["messageId"]: json.loads(record["body"]) for record in value}
            if any(body.get("crash") for body in bodies.values()):
                os._exit(1)
            for body in bodies.values():
                bytearray(body.get("allocate", 0) * 2**20)
            return {"batchItemFailures": [
                {"itemIdentifier": id} for id, body in bodies.items() if body.get("fail")
            ]}
    return event
"""


def toy(code: Path, timeout: int = 5, **environment: str) -> dict[str, Function]:
    return {"ToyFunction": Function("ToyFunction", code, "toy.handler", timeout, 256, environment, ())}


MACHINE = Machine("http://127.0.0.1:9", "ap-northeast-2", "123456789012", "key", "secret", "session")


def start(
    functions: dict[str, Function],
    log: Path,
    workers: int = 1,
    *,
    concurrency: int = limits.ACCOUNT,
    isolated: bool = False,
) -> Functions:
    """Start the functions. Unless they are isolated, they can write files for the test."""
    machines = dict.fromkeys(functions, MACHINE)
    return Functions(
        functions, machines, workers=workers, log=log, concurrency=concurrency, isolated=isolated
    )
