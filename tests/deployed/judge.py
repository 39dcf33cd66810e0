"""One judgement: the ground, the question, the scenarios and the clean-up, in this order."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, override

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from tests.deployed import inside, scenarios, user
from tests.deployed.browser_check import page_shows_the_images
from tests.deployed.ground import Ground, no_dead_letters
from tests.deployed.verdict import NotJudgedError, ProblemError, Report
from tests.environment import ROOT
from tests.support.client import JOBS, Client
from tests.support.interrupts import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.deployed.stack import Stack
    from tests.deployed.user import User

GRACE = 60  # seconds after a job's deadline until it must have ended: the watchdog's look, and a poll
PRICED = "black-forest-labs/flux-kontext-pro"
PROMPT = "A linocut of this photo, for the judge of deployed stacks."


@dataclass
class Visitor(Client):
    """A client of the deployed stack, with the tokens of its users."""

    url: str
    users: Sequence[User]
    http: httpx.Client
    photo: bytes
    made: set[tuple[int, str]] = field(default_factory=set)  # user and id of each job that was created

    @property
    @override
    def api(self) -> str:
        return self.url

    @property
    @override
    def tokens(self) -> list[str]:
        return [one.token for one in self.users]

    @override
    def request(self, method: str, path: str, *, user: int = 0, **options: Any) -> httpx.Response:
        answer = super().request(method, path, user=user, **options)
        if method == "POST" and path == JOBS and answer.status_code == HTTPStatus.CREATED:
            self.made.add((user, answer.json()["job_id"]))
        return answer


@dataclass
class Judge:
    """A judgement of one stack."""

    stack: Stack
    report: Report
    http: httpx.Client
    photo: bytes
    given: Sequence[str] = ()  # tokens of another issuer's users
    predictions: int = 0  # paid for
    jobs: Sequence[str] = ()  # that were created
    started: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.ground = Ground(self.stack, self.http)

    def check_ground(self) -> bool:
        """Check what costs nothing; return whether it is good."""
        for name, check in self.ground.needed().items():
            if not self.report.check(name, check):
                return False
        good = [self.report.check(name, check) for name, check in self.ground.others().items()]
        return all(good)  # each is checked, whatever the others say

    def price(self) -> str:
        """Return what the scenarios cost."""
        count, model = self.stack.number("ImageCount"), self.stack.parameters["ReplicateModel"]
        cost = "see the model's page for the price"
        if model == PRICED:
            prices = tomllib.loads((ROOT / "tests/benchmarks/prices.toml").read_text())["prices"]
            cost = f"${count * float(prices['usd']['replicate_prediction']['usd']):.2f} by its list price"
        return f"{count} predictions of {model} at Replicate ({cost}), and less than $0.01 at AWS"

    # ── the scenarios ──

    def run(self) -> None:
        """Run the scenarios as temporary users, and remove everything that they made."""
        users: list[User] = []
        client = Visitor(self.stack.outputs["ApiUrl"], users, self.http, self.photo)
        try:
            if self.report.check("users", lambda: self._sign_in(users)):
                self._run(client)
        finally:
            with uninterrupted():  # nothing may be left; each request has a time limit
                self.jobs = sorted(job_id for _, job_id in client.made)
                self.report.check("clean-up", lambda: self._clean_up(client))

    def spent(self) -> int | None:
        """Return how many predictions Replicate lists for the jobs, or None if it does not answer."""
        if not self.jobs:
            return 0
        since = datetime.fromtimestamp(self.started, UTC)
        try:
            return self.ground.replicate.predictions_of(self.jobs, since)
        except (ProblemError, NotJudgedError, httpx.HTTPError):
            return None

    def _sign_in(self, users: list[User]) -> str:
        if "UserPoolId" in self.stack.outputs:
            users += [user.create(self.stack)]
            users += [user.create(self.stack)]
            return "two temporary users in the stack's pool"
        if not self.given:
            raise ProblemError("The stack has its own JwtIssuer. Add --token FILE, with a token of a user.")
        users += [user.User(token) for token in self.given]
        return f"{len(users)} given tokens"

    def _run(self, client: Visitor) -> None:
        stack, check = self.stack, self._check
        origins = self._origins()
        if not check("API", lambda: scenarios.api_describes_itself(client)):
            return  # nothing else can work
        check("no token", lambda: scenarios.api_refuses_requests_without_a_token(client))
        check("API preflight", lambda: scenarios.api_answers_preflights(client, origins["api"]))
        check("other origins", lambda: scenarios.other_origins_are_refused(client, origins["api"]))
        check(
            "bad requests",
            lambda: scenarios.bad_requests_are_refused(client, stack.number("MaxUploadBytes")),
        )
        check("daily limit", lambda: inside.full_day_is_refused(stack, client, client.users[0]))
        self._make_room(client)
        good = self._check_job(client, origins["bucket"])
        self._make_room(client)
        if good:
            check("no photo", lambda: self._refused_photo(client))
            check(
                "expired upload",
                lambda: scenarios.expired_upload_is_refused(client, stack.number("UploadUrlSeconds")),
            )
        check("cancel", lambda: scenarios.cancel_ends_a_job(client))
        check("callback", lambda: inside.callback_is_connected(stack))
        check("dead letters after all", lambda: no_dead_letters(stack))

    def _make_room(self, client: Visitor) -> None:
        """Start the temporary user's day again: a stack for trying things out may permit only two jobs a day."""
        if client.users[0].email:
            inside.forget_spending(self.stack, client.users[0].owner)

    def _check_job(self, client: Visitor, origins: list[str]) -> bool:
        """Take one job through its whole life; return whether photos can be uploaded at all."""
        stack, check = self.stack, self._check
        made: dict[str, Any] = {}
        job: dict[str, Any] = {}

        def create() -> str:
            made.update(client.create(prompt=PROMPT))
            return str(made["job_id"])

        check("idempotency key", lambda: scenarios.same_key_is_the_same_job(client))
        if not check("create", create):
            return False
        if not check("upload host", lambda: scenarios.upload_host_is_regional(made, stack.bucket_hosts)):
            return False  # nothing is sent to another host
        job_id, seconds = made["job_id"], stack.number("UploadUrlSeconds")
        check("upload URL", lambda: scenarios.upload_url_signs_everything(made, seconds))
        check("bucket's CORS rules", lambda: inside.bucket_has_cors_rules(stack, origins))
        check("bucket preflight", lambda: scenarios.bucket_answers_preflights(client, made, origins))
        check(
            "forged webhooks", lambda: scenarios.forged_webhooks_are_refused(client, job_id, self._secret())
        )
        check("altered uploads", lambda: scenarios.altered_uploads_are_refused(client, made))
        check("upload", lambda: scenarios.upload_is_accepted_once(client, made))
        count, within = (
            stack.number("ImageCount"),
            stack.number("GenerationDeadlineSeconds") + stack.number("WatchdogDelaySeconds") + GRACE,
        )

        def images() -> str:
            job.update(scenarios.job_succeeds(client, job_id, count, within))
            return f"{count} different images"

        good = check("images", images)
        check("predictions", lambda: self._count_predictions(client, job_id, count))
        if good:
            check("private outputs", lambda: self._private_outputs(client, job))
            check("private jobs", lambda: scenarios.jobs_are_private(client, job))
            check("ETag", lambda: scenarios.etag_saves_an_answer(client, job_id))
            check("list", lambda: scenarios.job_is_listed(client, job_id))
            check("retry", lambda: scenarios.retry_changes_nothing(client, job))
            check("page", self._page)
            check("page in a browser", lambda: self._browser(client.users[0], job))
            check("logs", lambda: self._logs(client, job_id))
            check("delete", lambda: scenarios.deleted_job_is_gone(client, job))
            check("nothing left", lambda: inside.nothing_is_left(stack, job_id))
        return True

    def _check(self, name: str, run: Callable[[], str]) -> bool:
        """Run a scenario. If the API answers with a 5xx, the function's log says why."""

        def explained() -> str:
            try:
                return run()
            except ProblemError as problem:
                if " 500" in str(problem) or " 502" in str(problem) or " 503" in str(problem):
                    raise ProblemError(f"{problem}{inside.why(self.stack, self.started)}") from problem
                raise

        return self.report.check(name, explained)

    def _refused_photo(self, client: Client) -> str:
        job = scenarios.no_photo_is_refused(client)
        return (
            f"photo_unsupported, no prediction; after a retry {scenarios.retry_changes_nothing(client, job)}"
        )

    def _count_predictions(self, client: Client, job_id: str, count: int) -> str:
        images = client.job(job_id)["images"]
        since = datetime.fromtimestamp(self.started, UTC)
        self.predictions = sum(image["prediction_id"] is not None for image in images)
        self.predictions = max(self.predictions, self.ground.replicate.predictions_of([job_id], since))
        scenarios.must(
            self.predictions == count,
            f"Replicate made {self.predictions} predictions for {count} images. Look for the job in the logs.",
        )
        return f"{count} predictions for {count} images, by Replicate's own list"

    def _secret(self) -> str | None:
        try:
            return self.ground.replicate.signing_secret()
        except NotJudgedError:
            return None

    def _private_outputs(self, client: Client, job: Mapping[str, Any]) -> str:
        closed = inside.bucket_is_closed(self.stack)
        try:
            return f"{scenarios.outputs_are_private(client, job)}; {closed}"
        except ProblemError:
            if not self.stack.endpoint:
                raise
            raise NotJudgedError(f"{closed}. This emulator serves unsigned requests.") from None

    def _page(self) -> str:
        return scenarios.page_is_served(self.http, self._page_url(), self.stack.bucket_hosts)

    def _browser(self, owner: User, job: Mapping[str, Any]) -> str:
        return page_shows_the_images(f"{self._page_url()}#job={job['job_id']}", owner, len(job["images"]))

    def _page_url(self) -> str:
        if "PageUrl" not in self.stack.outputs:
            raise NotJudgedError("ServePage is false.")
        return self.stack.outputs["PageUrl"]

    def _logs(self, client: Client, job_id: str) -> str:
        secrets = {"the prompt": PROMPT, "Replicate's token": self.ground.replicate.token}
        secrets |= {f"token {number} of a user": token for number, token in enumerate(client.tokens)}
        return inside.logs_hold_no_secret(self.stack, self.started, job_id, secrets)

    def _origins(self) -> dict[str, list[str]]:
        """The origins of browsers that may use the API, and those that may upload."""
        page = [self.stack.origin]
        named = [one.strip() for one in self.stack.parameters["AllowedOrigins"].split(",") if one.strip()]
        # The page's requests to the API are not cross-origin: AllowedOrigins need not name it.
        api = page if "*" in named else [one.replace("*", "judge") for one in named]
        with_page = "PageUrl" in self.stack.outputs
        return {"api": api, "bucket": sorted({*api, *page}) if with_page else api}

    # ── the end ──

    def _clean_up(self, client: Visitor) -> str:
        """Delete the judge's jobs and its temporary users, also if one of the steps fails."""
        wrong: list[str] = []
        for number, job_id in sorted(client.made):
            try:
                answer = client.request("DELETE", f"{JOBS}/{job_id}", user=number)
                if answer.status_code != HTTPStatus.NOT_FOUND:  # it was deleted before
                    scenarios.expect(answer, HTTPStatus.NO_CONTENT, f"DELETE job {job_id}")
            except (ProblemError, httpx.HTTPError) as error:
                wrong.append(f"{error} It is deleted after RetentionDays.")
        temporary = [one for one in client.users if one.email]
        for one in temporary:
            try:
                inside.forget_spending(self.stack, one.owner)
            except (BotoCoreError, ClientError) as error:
                wrong.append(f"The user's count of today remains: {error}. DynamoDB removes it within days.")
            try:
                user.delete(self.stack, one)
            except ProblemError as problem:
                wrong.append(str(problem))
        if wrong:
            raise ProblemError(" ".join(wrong))
        return f"{len(client.made)} jobs and {len(temporary)} temporary users deleted"
