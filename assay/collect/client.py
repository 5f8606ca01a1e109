"""A site's projects from Python: add comparisons, read judgments, export, judge by a script.

Every call may be cut off and is then made again; what adds something carries a key of ours, so that
it is added once. The token goes to the site alone and is in no message.

Example:
    ``client = CollectClient("http://127.0.0.1:8100", token)``, then
    ``client.add_comparisons(client.project("haiku")["id"], rows)``.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from assay.atomic import written
from assay.errors import AssayError, ConfigError, DataError
from assay.store.ids import new_id
from assay.store.records import NewComparison, NewJudgment, NewResponse

FIRST_WAIT_SECONDS = 0.5
"""Longest wait before the first retry; doubled for each further one."""
LONGEST_WAIT_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 300.0
"""Longest wait that a Retry-After is followed."""
BATCH = 1000
"""Most comparisons of a request."""
BATCH_BYTES = 1_500_000
"""Most bytes of a request; the site takes 2 MiB."""
_AGAIN = frozenset({429, 502, 503, 504})


class CollectError(AssayError, RuntimeError):
    """The site refused a request, or did not answer. ``status`` 0: no answer."""

    exit_code = 1

    def __init__(self, message: str, status: int = 0, code: str = ""):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of adding comparisons."""

    comparisons: int
    responses: int
    judgments: int
    leaks: int
    """Responses that may name their model."""
    imports: tuple[str, ...]
    """One a request; each was all or nothing."""


class CollectClient:
    """A site, asked with a token. Safe to use from several threads.

    Args:
        url: Where the site is: https://collect.example.org
        token: From one's profile page.
        retries: Further tries after what may pass: no connection, 429, 502 to 504.
        transport: Of httpx2; for tests.
        sleep: Waits so many seconds; for tests.
        jitter: Draws from [0, 1); for tests.

    Raises:
        ConfigError: If the URL is none, or the token has characters that no token has.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        retries: int = 6,
        timeout_seconds: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigError(
                f"The site {parts.hostname or url!r} is no address; wanted https://HOST without "
                "user and password."
            )
        token = token.strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigError("The token is empty or has characters that no token has.")
        self.url = url.rstrip("/")
        self._retries, self._sleep, self._jitter = retries, sleep, jitter
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {token}"}, timeout=timeout_seconds,
            follow_redirects=False, transport=transport,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"CollectClient({self.url!r})"

    def __enter__(self) -> CollectClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- projects ---------------------------------------------------------------------------------

    def projects(self) -> list[dict[str, Any]]:
        """The projects one is in: id, name, role, is_paused, created."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = self._json("GET", "/projects", params={"after": after} if after else None)
            found += page["items"]
            after = page["next"]
            if after is None:
                return found

    def project(self, name: str) -> dict[str, Any]:
        """A project by name (letter case aside) or id, with its rubric.

        Raises:
            CollectError: If one is in no such project.
        """
        every = self.projects()
        found = [p for p in every if name == p["id"] or p["name"].lower() == name.lower()]
        if not found:
            names = ", ".join(repr(p["name"]) for p in every) or "none"
            raise CollectError(
                f"There is no project {name!r} at {self.url}; the token's owner is in {names}.",
                404, "not-found",
            )  # fmt: skip
        return self._json("GET", f"/projects/{found[0]['id']}")

    def create_project(
        self,
        name: str,
        settings: Mapping[str, Any] | None = None,
        rubric: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A new project (for site admins)."""
        body: dict[str, Any] = {"name": name}
        if settings:
            body["settings"] = dict(settings)
        if rubric:
            body["rubric"] = dict(rubric)
        return self._json("POST", "/projects", body, repeatable=False)

    def change_project(
        self,
        project_id: str,
        *,
        settings: Mapping[str, Any] | None = None,
        rubric: Mapping[str, Any] | None = None,
        is_paused: bool | None = None,
        change_existing: bool = False,
    ) -> dict[str, Any]:
        """Change parts of the settings or rubric, pause, or go on; the project as it is then.

        Args:
            change_existing: Whether comparisons that are there come to want ``overlap`` judgments,
                as those that come later do.

        Raises:
            CollectError: If somebody else changes it at the same moment (``status`` 412).
        """
        path = f"/projects/{_part(project_id)}"
        tag = self._answered("GET", path).headers.get("etag", "")
        body = _given(
            settings=_plain(settings), rubric=_plain(rubric), is_paused=is_paused,
            change_existing=change_existing or None,
        )  # fmt: skip
        response = self._answered(
            "PATCH", path, body, repeatable=False, headers={"If-Match": tag}
        )  # fmt: skip
        return dict(response.json())

    def progress(self, project_id: str) -> dict[str, int]:
        """How far a project is: comparisons, done, wanted, judgments, surplus, withdrawn."""
        return self._json("GET", f"/projects/{_part(project_id)}/progress")

    # --- comparisons ------------------------------------------------------------------------------

    def add_comparisons(
        self,
        project_id: str,
        comparisons: str | Path | Iterable[NewComparison] | Iterable[Mapping[str, Any]],
        *,
        source: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Sent:
        """Add comparisons from a stream of any length, in requests of at most a thousand.

        Each request is taken whole or not at all, and once, however often it had to be sent.

        Args:
            comparisons: Records of the store; or rows, or a file, of any format that Assay reads.
            source: What the site calls where they are from. Default: the file's name.
            progress: Called with the number of comparisons added by now.

        Raises:
            CollectError: If a request is refused; it says how many were added before it.
            DataError: If a row is none.
        """
        if source is None:
            source = Path(comparisons).name if isinstance(comparisons, str | Path) else "client"
        total = Sent(0, 0, 0, 0, ())
        for batch in _batches(_new(comparisons, source)):
            body = {"comparisons": batch, "source": source, "key": new_id()}
            try:
                added = self._json("POST", f"/projects/{_part(project_id)}/comparisons", body)
            except CollectError as error:
                raise CollectError(
                    f"{error} {total.comparisons:,} comparisons were added before.", error.status,
                    error.code,
                ) from error  # fmt: skip
            total = Sent(
                total.comparisons + added["comparisons"], total.responses + added["responses"],
                total.judgments + added["judgments"], total.leaks + added["leaks"],
                (*total.imports, added["id"]),
            )  # fmt: skip
            if progress:
                progress(total.comparisons)
        if not total.imports:
            raise DataError(f"{source} holds no comparison.")
        return total

    def comparisons(self, project_id: str, **filters: Any) -> Iterator[dict[str, Any]]:
        """Comparisons by number, without their texts.

        Args:
            filters: kind, purpose, state (open, done, withdrawn), language, import_id.
        """
        after: int | None = 0
        while after is not None:
            params = {**filters, "after": after, "limit": 500}
            page = self._json("GET", f"/projects/{_part(project_id)}/comparisons", params=params)
            yield from page["items"]
            after = page["next"]

    def change_comparison(
        self,
        project_id: str,
        comparison_id: str,
        *,
        overlap: int | None = None,
        place: int | float | None = None,
        is_withdrawn: bool | None = None,
    ) -> dict[str, Any]:
        """Change how many judgments of a comparison are wanted, its turn, or whether it is given.

        All that is named or nothing; the comparison as it is then.

        Args:
            overlap: No fewer than it has. Where it is more, surplus judgments count first.
            place: Its turn; less is sooner. An import counts from 1.
            is_withdrawn: True gives it to nobody any more, False gives it out again.

        Raises:
            CollectError: If the site refuses it; nothing is changed then.
        """
        path = f"/projects/{_part(project_id)}/comparisons/{_part(comparison_id)}"
        body = _given(overlap=overlap, place=place, is_withdrawn=is_withdrawn)
        return self._json("PATCH", path, body)

    def withdraw(self, project_id: str, comparison_id: str) -> None:
        """Give a comparison out no more."""
        path = f"/projects/{_part(project_id)}/comparisons/{_part(comparison_id)}/withdraw"
        self._answered("POST", path).close()

    # --- judgments --------------------------------------------------------------------------------

    def judgments(
        self, project_id: str, *, since: int = 0, withdrawn: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Judgments by time, as they come; a connection that breaks is taken up where it broke.

        Args:
            since: Milliseconds since 1970. Ask again from a minute before the last one had: one
                that was being written then may be older than it. Ids tell repeats.
            withdrawn: Whether those that were withdrawn or replaced come too.
        """
        path, after, tried = f"/projects/{_part(project_id)}/judgments", "", 0
        while True:
            params = {"since": since, "after": after, "withdrawn": withdrawn}
            response = self._answered("GET", path, params=params, stream=True)
            try:
                for line in response.iter_lines():
                    if line:
                        judgment = json.loads(line)
                        yield judgment
                        since, after, tried = judgment["submitted"], judgment["id"], 0
                return
            except (httpx2.TransportError, ValueError) as error:
                tried += 1
                if tried > self._retries:
                    raise self._no_answer(error, tried) from error
                self._wait(tried - 1, 0.0)
            finally:
                response.close()

    def export(self, project_id: str, path: str | Path, format: str = "assay") -> Path:
        """The judgments as a file of a format; whole or not at all."""
        tried = 0
        while True:
            response = self._answered(
                "GET", f"/projects/{_part(project_id)}/export", params={"format": format},
                stream=True,
            )  # fmt: skip
            try:
                with written(path) as part_file, part_file.open("wb") as file:
                    for part in response.iter_bytes():
                        file.write(part)
                return Path(path)
            except httpx2.TransportError as error:
                tried += 1
                if tried > self._retries:
                    raise self._no_answer(error, tried) from error
                self._wait(tried - 1, 0.0)
            finally:
                response.close()

    # --- for annotators that are scripts ----------------------------------------------------------

    def claim(self, project_id: str, have: Sequence[str] = ()) -> dict[str, Any] | None:
        """The next comparison to judge, or None where there is none."""
        path = f"/projects/{_part(project_id)}/claim"
        found: dict[str, Any] | None = self._json("POST", path, {"have": list(have)})["assignment"]
        return found

    def submit(
        self, assignment: Mapping[str, Any], answer: Mapping[str, Any], *, active_ms: int = 0
    ) -> dict[str, Any]:
        """Judge a claimed comparison. The judgment's id is made here, so a repeat is known."""
        body = {
            "id": new_id(), "comparison_id": assignment["comparison_id"], "answer": dict(answer),
            "shown": [response["id"] for response in assignment["responses"]],
            "active_ms": active_ms, "rubric_id": assignment["rubric_id"],
        }  # fmt: skip
        return self._json("POST", "/judgments", body)

    # --- one request ------------------------------------------------------------------------------

    def _json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        response = self._answered(method, path, body, params, repeatable=repeatable)
        try:
            return dict(response.json())
        except (ValueError, TypeError) as error:
            raise CollectError(
                f"{self.url} answered with something that is no JSON; is it an Assay site?",
                response.status_code,
            ) from error  # fmt: skip

    def _answered(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        stream: bool = False,
        repeatable: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """A good answer, after as many tries as it takes."""
        request = self._http.build_request(
            method, f"{self.url}/api/v1{path}", json=body, params=params,
            headers=headers,
        )  # fmt: skip
        for attempt in range(self._retries + 1):
            asked = 0.0
            try:
                response = self._http.send(request, stream=stream)
            except httpx2.TransportError as error:
                # a request that reached the site may have been done
                lost = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
                if attempt == self._retries or not (repeatable or lost):
                    raise self._no_answer(error, attempt + 1) from error
            else:
                if 200 <= response.status_code < 300:
                    return response
                refused = self._refusal(response)
                may_pass = refused.status in _AGAIN or refused.code == "import-busy"
                if attempt == self._retries or not may_pass:
                    raise refused
                asked = _retry_after(response.headers.get("retry-after"))
                if asked > LONGEST_ASKED_SECONDS:
                    raise refused
            self._wait(attempt, asked)
        raise AssertionError

    def _wait(self, attempt: int, asked: float) -> None:
        """Full jitter: anything up to a bound that doubles, after what the site asks for."""
        bound = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
        self._sleep(asked + bound * self._jitter())

    def _no_answer(self, error: Exception, tries: int) -> CollectError:
        again = f" (tried {tries} times)" if tries > 1 else ""
        said = str(error).strip() or type(error).__name__
        return CollectError(f"{self.url} does not answer{again}: {said}.")

    def _refusal(self, response: httpx2.Response) -> CollectError:
        status = response.status_code
        try:
            response.read()
            said = response.json()
            code, message = str(said["code"]), str(said["message"])
        except (httpx2.TransportError, ValueError, KeyError, TypeError):
            code, message = "", "It gave no reason that an Assay site gives; is the URL right?"
        finally:
            response.close()
        return CollectError(f"{self.url} answered {status}: {message}", status, code)


def _part(value: str) -> str:
    return quote(value, safe="")


def _retry_after(value: str | None) -> float:
    """Seconds from a Retry-After header: a number, or a date."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


# --- bodies ---------------------------------------------------------------------------------------


def _new(
    comparisons: str | Path | Iterable[NewComparison] | Iterable[Mapping[str, Any]], source: str
) -> Iterator[NewComparison]:
    """Records as they are; files and rows read."""
    rows: Any = comparisons
    if not isinstance(comparisons, str | Path):
        stream: Iterator[Any] = iter(comparisons)
        first = next(stream, None)
        if first is None:
            return
        rows = chain((first,), stream)
        if isinstance(first, NewComparison):
            yield from rows
            return
    from assay.store.incoming import new_comparisons

    yield from new_comparisons(rows, name=source)


def _batches(comparisons: Iterable[NewComparison]) -> Iterator[list[dict[str, Any]]]:
    """Bodies of comparisons, as many together as a request takes."""
    batch: list[dict[str, Any]] = []
    size = 0
    for number, comparison in enumerate(comparisons, 1):
        body = body_of(comparison)
        length = _length(body, number) + 1
        if batch and (len(batch) == BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += length
    if batch:
        yield batch


def _length(body: Mapping[str, Any], number: int) -> int:
    """Bytes of a body in a request."""
    try:
        return len(json.dumps(body, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, TypeError) as error:
        raise DataError(
            f"comparison {number} cannot be sent as JSON ({error}); texts must be whole Unicode, "
            "numbers finite."
        ) from None


def body_of(new: NewComparison) -> dict[str, Any]:
    """A new comparison as the API takes it; what is not said is left out."""
    return _given(
        prompt=[m.to_dict() for m in new.prompt],
        responses=[_response(r) for r in new.responses],
        kind=new.kind, purpose=new.purpose, overlap=new.overlap, place=new.place,
        language=new.language, expected=_plain(new.expected), extra=_plain(new.extra) or None,
        tools=[dict(tool) for tool in new.tools] if new.tools else None,
        judgments=[_judgment(j) for j in new.judgments] or None,
    )  # fmt: skip


def _given(**fields: Any) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _plain(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else dict(value)


def _response(response: NewResponse) -> dict[str, Any]:
    return _given(
        messages=[m.to_dict() for m in response.messages],
        steps=[dict(step) for step in response.steps] if response.steps is not None else None,
        model=response.model, author_id=response.author_id,
        provenance=_plain(response.provenance) or None,
    )  # fmt: skip


def _judgment(said: NewJudgment) -> dict[str, Any]:
    return _given(
        answer=dict(said.answer), annotator=said.annotator, source=said.source,
        shown=list(said.shown) if said.shown is not None else None, submitted=said.submitted,
        active_ms=said.active_ms or None, started=said.started, withdrawn=said.withdrawn,
        surplus=said.surplus or None,
    )  # fmt: skip
