"""From whole comparisons to rows of other formats, with a count of what a format cannot hold.

Each format names the features it ``holds``; what a comparison has besides is counted under the
feature's name. What cannot be written at all (a tie where there must be a winner) is counted by
the writer, and no row is made of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from assay.formats.prompts import prompt_text
from assay.store.answers import verdict
from assay.store.platforms import _one, _turns, argilla_out, label_studio_out
from assay.store.rows_assay import answer_out, iso, row_out
from assay.store.whole import Said, Whole
from assay.types import Comparison, Messages, Preference

Row = dict[str, Any]
Per = Literal["comparison", "judgment"]
Ties = Literal["keep", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaping:
    """How judgments become rows."""

    per: Per = "comparison"
    """A row a comparison, by the mean of its judgments, or a row a judgment."""
    ties: Ties = "keep"
    """keep writes them with probability ½ where the format has one; drop counts them."""


Write = Callable[[Whole, Sequence[Said], Shaping, Counter[str]], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class Format:
    """A format that judgments can be written in.

    Args:
        holds: Features that are in a row of one comparison or judgment.
        holds_apart: Those that are there besides where each judgment has its own row.
        kinds: Kinds of comparisons it is for.
    """

    name: str
    write: Write
    kinds: tuple[str, ...]
    holds: frozenset[str]
    holds_apart: frozenset[str] = frozenset()
    all_purposes: bool = False
    unjudged: bool = False
    about: str = ""

    def cannot(self, per: Per) -> list[str]:
        """Features it cannot hold."""
        held = self.holds | (self.holds_apart if per == "judgment" else frozenset())
        return [name for name in FEATURES if name not in held]


# --- features -------------------------------------------------------------------------------------


def _judged(test: Callable[[Said], object]) -> Callable[[Whole, Sequence[Said]], int]:
    return lambda whole, said: sum(bool(test(one)) for one in said)


def _steps_with(key: str) -> Callable[[Whole, Sequence[Said]], int]:
    return _judged(lambda one: one.answer.get(key))


def _graded(one: Said) -> bool:
    return one.answer["kind"] == "pair" and one.answer["strength"] not in (0, 1)


def _plain_extra(whole: Whole) -> bool:
    return bool(set(whole.extra) - {"id", "subset", "decision", "flags"})


FEATURES: dict[str, Callable[[Whole, Sequence[Said]], int]] = {
    "subsets": lambda w, _: int(w.extra.get("subset") is not None),
    "other fields": lambda w, _: int(_plain_extra(w)),
    "tools": lambda w, _: int(bool(w.tools)),
    "languages": lambda w, _: int(w.language is not None),
    "models": lambda w, _: sum(r.model is not None for r in w.responses),
    "details of responses": lambda w, _: sum(bool(r.provenance) for r in w.responses),
    "rankings of three or more": lambda w, _: int(w.kind == "ranking" and len(w.responses) > 2),
    "annotators": _judged(lambda one: one.annotator),
    "times": _judged(lambda one: one.submitted is not None),
    "active times": _judged(lambda one: one.active_ms),
    "display orders": _judged(lambda one: one.order is not None),
    "strengths": _judged(_graded),
    "scales": _judged(lambda one: one.answer.get("preset")),
    "acceptability": _judged(lambda one: one.answer.get("acceptability")),
    "ratings by dimension": _judged(
        lambda one: any("ratings" in d for d in (one.answer.get("dimensions") or {}).values())
    ),
    "choices by dimension": _judged(
        lambda one: any("choice" in d for d in (one.answer.get("dimensions") or {}).values())
    ),
    "reasons": _judged(lambda one: one.answer.get("reasons")),
    "rationales": _judged(lambda one: one.answer.get("rationale")),
    "candidates of steps": lambda w, _: sum(
        bool(step.get("alternatives")) for r in w.responses for step in r.steps or ()
    ),
    "written steps": _steps_with("written"),
    "accepted steps": _steps_with("chosen"),
    "marks on steps": _steps_with("flagged"),
    "first-error mode": _judged(lambda one: one.answer.get("mode") == "first-error"),
    "rubric versions": _judged(lambda one: one.rubric is not None),
    "other notes": _judged(lambda one: one.answer.get("origin")),
    "flags": lambda w, _: len(w.flags),
}
"""What there may be besides prompt, responses and which is better, and how much of it there is."""
EVERYTHING = frozenset(FEATURES)


def features_of(whole: Whole, judgments: Sequence[Said]) -> Counter[str]:
    """How much of each feature a comparison has."""
    found = Counter({name: count(whole, judgments) for name, count in FEATURES.items()})
    return +found


# --- pairs ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Verdict:
    """One row's worth of preference between two responses."""

    chosen: int
    rejected: int
    probability: float
    margin: float
    said: Said | None

    @property
    def is_tie(self) -> bool:
        return self.probability == 0.5


def _verdicts(
    whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
) -> Iterator[_Verdict]:
    """What judgments say of every two responses, each judgment's or their mean."""
    for i, j in combinations(range(len(whole.responses)), 2):
        shares = [(verdict(one.answer, i, j), one) for one in judgments]
        known = [(share, one) for share, one in shares if share is not None]
        for share, one in known:
            left["choices of strength 0 (written as ties)"] += (
                share == 0.5 and one.answer.get("choice") is not None
            )
        if shaping.per == "judgment":
            for share, one in known:
                yield _turned(i, j, share, one)
        elif known:
            yield _turned(i, j, sum(share for share, _ in known) / len(known), None)


def _turned(i: int, j: int, share: float, said: Said | None) -> _Verdict:
    if share < 0.5:
        i, j, share = j, i, 1 - share
    return _Verdict(i, j, share, 2 * share - 1, said)


def _kept(found: Iterator[_Verdict], keep: bool, left: Counter[str]) -> Iterator[_Verdict]:
    for one in found:
        if one.is_tie and not keep:
            left["ties"] += 1
        else:
            yield one


def comparison_of(whole: Whole, judgments: Sequence[Said], ties: Ties) -> Comparison | str:
    """A comparison for training from some of its judgments, or why none comes of it."""
    found = list(_verdicts(whole, judgments, Shaping(), Counter()))
    kept = [one for one in found if ties == "keep" or not one.is_tie]
    if not kept:
        return "ties" if found else "nothing compared"
    only = judgments[0] if len(judgments) == 1 else None
    groups = only.answer.get("groups") if only else None
    return Comparison(
        prompt=whole.prompt,
        responses=tuple(r.messages for r in whole.responses),
        preferences=tuple(Preference(v.chosen, v.rejected, v.probability, v.margin) for v in kept),
        ranking=tuple(tuple(group) for group in groups) if groups else None,
        id=_id(whole),
        subset=None if whole.extra.get("subset") is None else str(whole.extra["subset"]),
        annotator=only.annotator if only else None,
        tools=tuple(whole.tools) if whole.tools else None,
        first_shown=only.order[0] if only and only.order else None,
    )


def _pairs(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
           ) -> Iterator[Row]:  # fmt: skip
    found = _verdicts(whole, judgments, shaping, left)
    for one in _kept(found, shaping.ties == "keep", left):
        yield _without_none({
            **_identity(whole),
            "prompt": _messages(whole.prompt),
            "chosen": _messages(whole.responses[one.chosen].messages),
            "rejected": _messages(whole.responses[one.rejected].messages),
            **_weights(whole, one),
        })  # fmt: skip


def _weights(whole: Whole, one: _Verdict) -> Row:
    order = one.said.order if one.said else None
    first = None
    if order is not None:
        places = {i: at for at, i in enumerate(order)}
        first = "chosen" if places[one.chosen] < places[one.rejected] else "rejected"
    return {
        "probability": one.probability,
        "margin": one.margin,
        "weight": 1.0,
        "annotator": one.said.annotator if one.said else None,
        "first_shown": first,
        "chosen_model": whole.responses[one.chosen].model,
        "rejected_model": whole.responses[one.rejected].model,
        "tools": [dict(tool) for tool in whole.tools] if whole.tools else None,
    }


def _implicit(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
              ) -> Iterator[Row]:  # fmt: skip
    found = _verdicts(whole, judgments, shaping, left)
    for one in _kept(found, shaping.ties == "keep", left):
        if _begin_alike(whole, one):
            left["responses that begin alike (the prompt could not be told from them)"] += 1
            continue
        yield _without_none({**_identity(whole), **_conversations(whole, one),
                             **_weights(whole, one)})  # fmt: skip


def _openrlhf(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
              ) -> Iterator[Row]:  # fmt: skip
    for one in _kept(_verdicts(whole, judgments, shaping, left), False, left):
        if _begin_alike(whole, one):
            left["responses that begin alike (the prompt could not be told from them)"] += 1
            continue
        yield {**_conversations(whole, one), "margin": one.margin}


def _begin_alike(whole: Whole, one: _Verdict) -> bool:
    sides = [whole.responses[i].messages for i in (one.chosen, one.rejected)]
    return sides[0][0] == sides[1][0]


def _conversations(whole: Whole, one: _Verdict) -> Row:
    return {
        key: _messages(whole.prompt) + _messages(whole.responses[i].messages)
        for key, i in (("chosen", one.chosen), ("rejected", one.rejected))
    }


def _hh(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
        ) -> Iterator[Row]:  # fmt: skip
    for one in _kept(_verdicts(whole, judgments, shaping, left), False, left):
        sides = [
            _transcript((*whole.prompt, *whole.responses[i].messages))
            for i in (one.chosen, one.rejected)
        ]
        if None in sides or sides[0] == sides[1] or _begin_alike(whole, one):
            left["conversations that are no transcript"] += 1
            continue
        left["divided votes (written as clear)"] += one.said is None and one.probability < 1
        left["conversations with white space around a message"] += any(
            m.content != m.content.strip()
            for m in (*whole.prompt, *(m for r in whole.responses for m in r.messages))
        )
        yield {"chosen": sides[0], "rejected": sides[1]}


def _transcript(messages: Messages) -> str | None:
    """An HH transcript; None where it would not be read back as the same conversation.

    White space around a message is no part of a transcript.
    """
    names = {"user": "Human", "assistant": "Assistant"}
    text = ""
    for message in messages:
        if (
            message.role not in names
            or message.extra
            or any(f"\n\n{name}:" in f"\n\n{message.content}" for name in names.values())
            or not message.content.strip()
        ):
            return None
        text += f"\n\n{names[message.role]}: {message.content.strip()}"
    return text if text.startswith("\n\nHuman:") else None


def _identity(whole: Whole) -> Row:
    return {"id": _id(whole), "subset": whole.extra.get("subset")}


def _id(whole: Whole) -> str:
    return str(whole.extra.get("id") or whole.id)


def _messages(messages: Messages) -> list[Row]:
    return [m.to_dict() for m in messages]


def _without_none(row: Row) -> Row:
    return {key: value for key, value in row.items() if value is not None}


# --- labelled responses, ratings ------------------------------------------------------------------


def _kto(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
         ) -> Iterator[Row]:  # fmt: skip
    accepted = [one for one in judgments if one.answer.get("acceptability")]
    left["judgments without acceptability"] += len(judgments) - len(accepted)
    left["ok (written as good)"] += sum(
        v == "ok" for one in accepted for v in one.answer["acceptability"].values()
    )
    for label, said, who in _labels(whole, accepted, shaping, left):
        yield _without_none({
            **_identity(whole),
            "prompt": _messages(whole.prompt),
            "completion": _messages(said.messages),
            "label": label,
            "annotator": who,
            "model": said.model,
        })  # fmt: skip


def _labels(
    whole: Whole, accepted: Sequence[Said], shaping: Shaping, left: Counter[str]
) -> Iterator[tuple[bool, Any, str | None]]:
    by = _labels_by_annotator(whole, accepted)
    if shaping.per == "judgment":
        for who, labels in by.items():
            for i, label in sorted(labels.items()):
                yield label, whole.responses[i], who or None
        return
    for i, said in enumerate(whole.responses):
        votes = [labels[i] for labels in by.values() if i in labels]
        if votes and 2 * sum(votes) == len(votes):
            left["even votes on a response"] += 1
        elif votes:
            yield 2 * sum(votes) > len(votes), said, None


def _labels_by_annotator(whole: Whole, accepted: Sequence[Said]) -> dict[str, dict[int, bool]]:
    """Whether responses are good, of those who judged them and of those who labelled an import."""
    found: dict[str, dict[int, bool]] = {}
    if not any(one.id == whole.id for one in accepted):  # a decision stands in for all labels
        for i, said in enumerate(whole.responses):
            for who, label in (said.provenance.get("labels") or {}).items():
                found.setdefault(who, {})[i] = bool(label)
    for one in accepted:
        said_of = {i: value != "bad" for i, value in one.answer["acceptability"].items()}
        found[one.annotator] = {i: v for i, v in said_of.items() if i < len(whole.responses)}
    return dict(sorted(found.items()))


def _ultrafeedback(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
                   ) -> Iterator[Row]:  # fmt: skip
    if not _is_one_text(whole):
        left["prompts of several turns"] += 1
        return
    for group in _grouped(judgments, shaping):
        places = [_places(one, len(whole.responses)) for one in group]
        known = [i for i in range(len(whole.responses)) if all(i in p for p in places)]
        left["responses left unranked"] += len(whole.responses) - len(known)
        if len(known) < 2 or any(len(whole.responses[i].messages) > 1 for i in known):
            left["responses of several messages"] += 1
            continue
        means = {i: sum(p[i] for p in places) / len(places) for i in known}
        levels = sorted(set(means.values()))
        scores = {i: float(levels.index(mean) + 1) for i, mean in means.items()}
        yield _without_none({
            "source": whole.extra.get("subset"),
            "id": _id(whole),
            "instruction": prompt_text(whole.prompt),
            "models": [whole.responses[i].model for i in known]
            if any(whole.responses[i].model for i in known) else None,
            "completions": [
                _without_none({
                    "model": whole.responses[i].model,
                    "response": whole.responses[i].messages[0].content,
                    "overall_score": scores[i],
                    "annotations": {
                        name: {"Rating": f"{value:g}"}
                        for name, value in _mean_ratings(group, i).items()
                    },
                })
                for i in known
            ],
            "annotator": group[0].annotator if shaping.per == "judgment" else None,
        })  # fmt: skip


def _grouped(judgments: Sequence[Said], shaping: Shaping) -> list[list[Said]]:
    return [[one] for one in judgments] if shaping.per == "judgment" else [list(judgments)]


def _places(one: Said, count: int) -> dict[int, float]:
    """A place a response: how many groups it is above the last, from 1."""
    if one.answer["kind"] == "pair":
        choice = one.answer["choice"]
        return {i: 1.0 if choice is None else 1.0 + (i == choice) for i in range(count)}
    groups = one.answer["groups"]
    return {i: float(len(groups) - rank) for rank, group in enumerate(groups) for i in group}


def _mean_ratings(judgments: Sequence[Said], response: int) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for one in judgments:
        for name, said in (one.answer.get("dimensions") or {}).items():
            value = (said.get("ratings") or {}).get(response)
            if isinstance(value, int | float):
                found.setdefault(name, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _is_one_text(whole: Whole) -> bool:
    first = whole.prompt[0]
    return len(whole.prompt) == 1 and first.role == "user" and not first.extra


def _helpsteer(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
               ) -> Iterator[Row]:  # fmt: skip
    if any(len(r.messages) > 1 or r.messages[0].extra for r in whole.responses):
        left["responses of several messages"] += 1
        return
    for group in _grouped(judgments, shaping):
        scores = [_signed(one.answer) for one in group]
        yield _without_none({
            "id": _id(whole),
            "domain": whole.extra.get("domain"),
            "subset": whole.extra.get("subset"),
            "language": whole.extra.get("language") or whole.language,
            "context": _messages(whole.prompt),
            "response1": whole.responses[0].messages[0].content,
            "response2": whole.responses[1].messages[0].content,
            "model_1": whole.responses[0].model,
            "model_2": whole.responses[1].model,
            "overall_preference": round(sum(scores) / len(scores)),
            "individual_preference": [_individual(one) for one in group],
            "tools": [dict(tool) for tool in whole.tools] if whole.tools else None,
        })  # fmt: skip


def _signed(answer: Mapping[str, Any]) -> int:
    """-3, the first is much better, to 3; a choice is at least slight."""
    if answer["choice"] is None:
        return 0
    strength = max(1, round(3 * float(answer["strength"])))
    return -strength if answer["choice"] == 0 else strength


def _individual(one: Said) -> Row:
    answer = one.answer
    score = _signed(answer)
    row = answer_out(answer, 2)
    rated = {n: d for n, d in (answer.get("dimensions") or {}).items() if "ratings" in d}
    compared = {n: d for n, d in (answer.get("dimensions") or {}).items() if "choice" in d}
    is_exact = abs(abs(score) / 3 - answer["strength"]) < 1e-9
    return _without_none({
        "annotator": one.annotator,
        "score": score,
        "strength": None if is_exact else answer["strength"],
        "reasoning": answer.get("rationale"),
        "ratings": [{n: d["ratings"].get(i) for n, d in rated.items()} for i in (0, 1)]
        if rated else None,
        "dimensions": {n: _signed(d) for n, d in compared.items()} or None,
        "acceptability": row.get("acceptability"),
        "display_order": None if one.order is None else list(one.order),
    })  # fmt: skip


def _arena(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
           ) -> Iterator[Row]:  # fmt: skip
    for one in judgments:
        order = one.order or (0, 1)
        sides = [whole.responses[i] for i in order]
        if sides[0].messages[0] == sides[1].messages[0]:
            left["responses that begin alike (the prompt could not be told from them)"] += 1
            continue
        yield _without_none({
            "question_id": _id(whole),
            "model_a": sides[0].model or "unknown-1",
            "model_b": sides[1].model or "unknown-2",
            "winner": _winner(one, order),
            "judge": one.annotator,
            "conversation_a": _messages(whole.prompt) + _messages(sides[0].messages),
            "conversation_b": _messages(whole.prompt) + _messages(sides[1].messages),
            "turn": sum(m.role == "user" for m in whole.prompt),
            "tstamp": None if one.submitted is None else one.submitted / 1000,
        })  # fmt: skip


def _winner(one: Said, order: Sequence[int]) -> str:
    choice = one.answer["choice"]
    if choice is not None:
        return "model_a" if choice == order[0] else "model_b"
    accepted = one.answer.get("acceptability") or {}
    return "tie (bothbad)" if [accepted.get(i) for i in (0, 1)] == ["bad", "bad"] else "tie"


# --- solutions ------------------------------------------------------------------------------------


def _stepwise(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
              ) -> Iterator[Row]:  # fmt: skip
    steps = [str(step["text"]) for step in whole.responses[0].steps or ()]
    for one in judgments:
        labels = list(one.answer["labels"])
        judged = next((i for i, label in enumerate(labels) if label is None), len(labels))
        if any(label is not None for label in labels[judged:]) or not judged:
            left["solutions with a step that was not judged before one that was"] += 1
            continue
        left["steps after the last one judged"] += len(labels) - judged
        left["neutral steps (written as good)"] += labels.count(0)
        yield _without_none({
            **_identity(whole),
            "prompt": _turns(whole.prompt),
            "completions": steps[:judged],
            "labels": [label >= 0 for label in labels[:judged]],
            "annotator": one.annotator,
        })  # fmt: skip


def _prm800k(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
             ) -> Iterator[Row]:  # fmt: skip
    if not _is_one_text(whole):
        left["prompts of several turns"] += 1
        return
    about = whole.extra.get("question")
    known = {k: v for k, v in whole.extra.items() if k not in ("question", "decision", "flags")}
    for one in judgments:
        origin = dict(one.answer.get("origin") or {})
        flags, unmade = origin.pop("flagged", None), set(origin.pop("unmade", ()))
        origin.pop("from_step", None)
        labels = one.answer["labels"]
        reason = "found_error" if -1 in labels else "solution" if known.get("correct") else None
        yield {
            "id": _id(whole),
            **{k: v for k, v in known.items() if k not in ("id", "correct")},
            "labeler": one.annotator,
            "timestamp": iso(one.submitted),
            "generation": known.get("generation"),
            "is_quality_control_question": bool(known.get("is_quality_control_question")),
            "is_initial_screening_question": bool(known.get("is_initial_screening_question")),
            "question": {
                "problem": whole.prompt[0].content,
                **(about if isinstance(about, Mapping) else {}),
            },
            "label": {
                "steps": _prm_steps(whole, one, flags, unmade),
                "finish_reason": reason,
                "total_time": one.active_ms,
                **origin,
            },
        }


def _prm_steps(whole: Whole, one: Said, flags: Any, unmade: set[int]) -> list[Row]:
    """Steps as PRM800K has them: a null rating is no neutral one."""
    answer, steps = one.answer, whole.responses[0].steps or ()
    written = answer.get("written") or {}
    found: list[Row] = []
    for at, step in enumerate(steps):
        others = step.get("alternatives") or ()
        ratings = [answer["labels"][at], *((answer.get("alternatives") or {at: ()})[at] or
                                           [None] * len(others))]  # fmt: skip
        ratings += [None] * (1 + len(others) - len(ratings))
        marked = flags[at] if flags else [(answer.get("flagged") or {}) and answer["flagged"][at]]
        marked = [mark or None for mark in [*marked, *[None] * len(ratings)]]
        human = written.get(str(at))
        chosen = answer["chosen"][at] if answer.get("chosen") else _went_on(answer, at, len(steps))
        found.append({
            "completions": [] if at in unmade else [
                {"text": text, "rating": rating, "flagged": mark}
                for text, rating, mark in zip((step["text"], *others), ratings, marked,
                                              strict=False)
            ],
            "human_completion": None if human is None else _human(human),
            "chosen_completion": None if human is not None and chosen is None else chosen,
        })  # fmt: skip
    last = written.get(str(len(steps)))
    if last is not None:
        found.append(
            {"completions": [], "human_completion": _human(last), "chosen_completion": None}
        )
    return found


def _human(text: str) -> Row:
    return {"text": text, "rating": None, "source": "human", "flagged": False}


def _went_on(answer: Mapping[str, Any], at: int, count: int) -> int | None:
    """The solution went on with its own step, unless a better one was written for it."""
    if str(at) in (answer.get("written") or {}):
        return None
    return None if at == count - 1 and answer["labels"][at] == -1 else 0


# --- a flat table ---------------------------------------------------------------------------------


def table_columns(count: int) -> list[str]:
    """The columns of the table, for comparisons of so many responses."""
    numbers = range(1, count + 1)
    return [
        "id", "subset", "kind", "language", "prompt", *(f"response_{i}" for i in numbers),
        *(f"model_{i}" for i in numbers), "annotator", "choice", "ranking", "strength", "preset",
        "raw", *(f"acceptability_{i}" for i in numbers), "dimensions", "reasons", "rationale",
        "display_order", "submitted", "active_ms", "tools", "extra",
    ]  # fmt: skip


def _table(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
           ) -> Iterator[Row]:  # fmt: skip
    extra = {k: v for k, v in whole.extra.items() if k not in ("id", "subset", "decision", "flags")}
    count = len(whole.responses)
    for one in judgments:
        answer = answer_out(one.answer, count)
        row: Row = {
            "id": _id(whole),
            "subset": whole.extra.get("subset"),
            "kind": whole.kind,
            "language": whole.language,
            "prompt": _turns(whole.prompt),
            **{f"response_{i}": _one(r) for i, r in enumerate(whole.responses, start=1)},
            **{f"model_{i}": r.model for i, r in enumerate(whole.responses, start=1)},
            "annotator": one.annotator,
        }
        if whole.kind == "ranking":
            row["ranking"] = ">".join(
                "=".join(str(i + 1) for i in group) for group in one.answer["groups"]
            )
        else:
            choice = one.answer["choice"]
            row |= {"choice": "tie" if choice is None else str(choice + 1),
                    "strength": one.answer["strength"], "preset": answer.get("preset"),
                    "raw": answer.get("raw")}  # fmt: skip
        row |= {f"acceptability_{i}": v
                for i, v in enumerate(answer.get("acceptability") or (), start=1)}  # fmt: skip
        row |= {
            "dimensions": answer.get("dimensions"), "reasons": answer.get("reasons"),
            "rationale": answer.get("rationale"),
            "display_order": None if one.order is None else " ".join(str(i + 1) for i in one.order),
            "submitted": iso(one.submitted), "active_ms": one.active_ms or None,
            "tools": [dict(tool) for tool in whole.tools] if whole.tools else None,
            "extra": extra or None,
        }  # fmt: skip
        yield _without_none(row)


def _assay(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
           ) -> Iterator[Row]:  # fmt: skip
    yield row_out(whole)


def _platform(write: Callable[[Whole, Sequence[Said]], Row]) -> Write:
    def rows(whole: Whole, judgments: Sequence[Said], shaping: Shaping, left: Counter[str]
             ) -> Iterator[Row]:  # fmt: skip
        yield write(whole, judgments)

    return rows


_COMPARED = ("pair", "ranking")
_JUDGMENT = frozenset(("annotators", "display orders"))
_PAIR_HOLDS = frozenset(("subsets", "tools", "models", "strengths"))
_PLATFORM = frozenset((
    "subsets", "models", "annotators", "times", "display orders", "strengths", "scales",
    "acceptability", "ratings by dimension", "reasons", "rationales", "rankings of three or more",
))  # fmt: skip

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("assay", _assay, ("pair", "ranking", "steps"), EVERYTHING, all_purposes=True,
               unjudged=True, about="everything the store has"),
        Format("pairs", _pairs, _COMPARED, _PAIR_HOLDS, _JUDGMENT,
               about="TRL preference, explicit prompt"),
        Format("trl-implicit", _implicit, _COMPARED, _PAIR_HOLDS, _JUDGMENT,
               about="TRL preference, prompt in both conversations"),
        Format("openrlhf", _openrlhf, _COMPARED, frozenset(("strengths",)),
               about="OpenRLHF reward data: conversations with a margin"),
        Format("hh", _hh, _COMPARED, frozenset(), about="Anthropic-HH transcripts"),
        Format("kto", _kto, _COMPARED, frozenset(("subsets", "models", "acceptability",
               "rankings of three or more")), frozenset(("annotators",)),
               about="TRL unpaired: responses called good or bad"),
        Format("ultrafeedback", _ultrafeedback, _COMPARED,
               frozenset(("subsets", "models", "ratings by dimension",
                          "rankings of three or more")), frozenset(("annotators",)),
               about="UltraFeedback: scores and ratings by aspect"),
        Format("helpsteer", _helpsteer, ("pair",),
               frozenset(("subsets", "languages", "models", "tools", "annotators",
                          "display orders", "strengths", "acceptability", "ratings by dimension",
                          "choices by dimension", "rationales")),
               about="HelpSteer3 preference: -3 to 3, each annotator's"),
        Format("arena", _arena, ("pair",),
               frozenset(("models", "annotators", "times", "display orders")),
               about="Chatbot Arena votes"),
        Format("trl-stepwise", _stepwise, ("steps",), frozenset(("subsets", "annotators")),
               about="TRL stepwise supervision"),
        Format("prm800k", _prm800k, ("steps",),
               frozenset(("subsets", "other fields", "annotators", "times", "active times",
                          "candidates of steps", "written steps", "accepted steps",
                          "marks on steps", "other notes")),
               about="PRM800K records of phase 2"),
        Format("argilla", _platform(argilla_out), _COMPARED, _PLATFORM, unjudged=True,
               about="Argilla records, version 2"),
        Format("label-studio", _platform(label_studio_out), _COMPARED,
               _PLATFORM | {"active times"}, unjudged=True, about="Label Studio tasks"),
        Format("csv", _table, _COMPARED,
               frozenset(EVERYTHING - {"details of responses", "rubric versions", "other notes",
                                       "flags", "candidates of steps", "written steps",
                                       "accepted steps", "marks on steps", "first-error mode"}),
               about="a flat table, a judgment a row"),
    )
}  # fmt: skip
"""The formats, by name."""
