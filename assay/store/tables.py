"""The tables. Times are milliseconds since 1970 in UTC, ids are UUIDs (version 7, sorted by time).

Responses are named by their ids and never by a place on a page. A comparison has ``overlap`` slots,
one for each judgment that is wanted; a slot is free, held under a lease, or filled for good.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Id = String(36)
Time = BigInteger

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: tuple[str, ...], name: str | None = None) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=name or column)


ROLES = ("annotator", "reviewer", "admin")
"""Each may do what the ones before it may."""
KINDS = ("pair", "ranking", "steps")
PURPOSES = ("work", "screening", "training", "gold", "attention")
"""Why a comparison is shown: all but ``work`` have an expected answer and are for everybody."""

annotators = Table(
    "annotator",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("password_hash", Text),
    Column("subject", Text, unique=True),  # of an OpenID provider: issuer and subject
    Column("is_site_admin", Boolean, nullable=False, server_default=text("false")),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("languages", Json, nullable=False),  # empty: all
    Column("settings", Json, nullable=False),  # keys, theme, locale
    Column("created", Time, nullable=False),
)

projects = Table(
    "project",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(120), nullable=False, unique=True),
    Column("settings", Json, nullable=False),
    Column("is_paused", Boolean, nullable=False, server_default=text("false")),
    Column("created", Time, nullable=False),
)

memberships = Table(
    "membership",
    metadata,
    Column("project_id", Id, ForeignKey("project.id"), primary_key=True),
    Column("annotator_id", Id, ForeignKey("annotator.id"), primary_key=True),
    Column("role", String(12), nullable=False),
    Column("state", String(12), nullable=False, server_default="active"),
    Column("cursor", Float, nullable=False, server_default=text("0")),
    _one_of("role", ROLES),
    _one_of("state", ("active", "blocked")),
)

api_tokens = Table(
    "api_token",
    metadata,
    Column("id", Id, primary_key=True),
    Column("annotator_id", Id, ForeignKey("annotator.id"), nullable=False, index=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", String(80), nullable=False),
    Column("created", Time, nullable=False),
    Column("expires", Time),
    Column("last_used", Time),
)

sessions = Table(
    "session",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("annotator_id", Id, ForeignKey("annotator.id"), nullable=False, index=True),
    Column("csrf", String(64), nullable=False),
    Column("created", Time, nullable=False),
    Column("expires", Time, nullable=False),
)

rubrics = Table(
    "rubric",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("project.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("body", Json, nullable=False),
    Column("created", Time, nullable=False),
    UniqueConstraint("project_id", "version"),
)

prompts = Table(
    "prompt",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("project.id"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("messages", Json, nullable=False),
    Column("tools", Json),
    UniqueConstraint("project_id", "digest"),
)

responses = Table(
    "response",
    metadata,
    Column("id", Id, primary_key=True),
    Column("prompt_id", Id, ForeignKey("prompt.id"), nullable=False, index=True),
    Column("messages", Json, nullable=False),
    Column("steps", Json),  # of a solution: a list of texts
    Column("model", Text),
    Column("author_id", Id, ForeignKey("annotator.id")),  # who wrote it does not judge it
    Column("leak", Text),  # words by which the response may give its model away
    Column("provenance", Json, nullable=False),
)

imports = Table(
    "import",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("project.id"), nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("format", String(40), nullable=False),
    Column("counts", Json, nullable=False),
    Column("state", String(12), nullable=False),
    Column("created", Time, nullable=False),
    Column("touched", Time, nullable=False),
    _one_of("state", ("staging", "done")),
)

comparisons = Table(
    "comparison",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("project.id"), nullable=False),
    Column("prompt_id", Id, ForeignKey("prompt.id"), nullable=False, index=True),
    Column("import_id", Id, ForeignKey("import.id"), index=True),
    Column("number", Integer, nullable=False),  # in the project, from 1, as imported
    Column("kind", String(12), nullable=False),
    Column("purpose", String(12), nullable=False, server_default="work"),
    Column("overlap", Integer, nullable=False),
    Column("filled", Integer, nullable=False, server_default=text("0")),
    Column("place", Float, nullable=False),  # the order of work; less is sooner
    Column("language", String(35)),
    Column("expected", Json),  # the answer to an item that has one
    Column("extra", Json, nullable=False),  # fields of the row it came from, given back on export
    Column("is_published", Boolean, nullable=False),  # false while its import goes on
    Column("is_withdrawn", Boolean, nullable=False, server_default=text("false")),
    Column("created", Time, nullable=False),
    UniqueConstraint("project_id", "number"),
    _one_of("kind", KINDS),
    _one_of("purpose", PURPOSES),
    CheckConstraint("filled >= 0 AND filled <= overlap", name="quota"),
    Index("ix_comparison_project_id_place", "project_id", "place"),
    Index("ix_comparison_special", "project_id", "purpose",
          sqlite_where=text("purpose <> 'work'"), postgresql_where=text("purpose <> 'work'")),
)  # fmt: skip

comparison_responses = Table(
    "comparison_response",
    metadata,
    Column("comparison_id", Id, ForeignKey("comparison.id"), primary_key=True),
    Column("number", Integer, primary_key=True),  # as imported, from 0; not as shown
    Column("response_id", Id, ForeignKey("response.id"), nullable=False, index=True),
)

slots = Table(
    "slot",
    metadata,
    Column("comparison_id", Id, ForeignKey("comparison.id"), primary_key=True),
    Column("k", Integer, primary_key=True),
    Column("project_id", Id, nullable=False),
    Column("place", Float, nullable=False),
    Column("language", String(35)),
    Column("annotator_id", Id, ForeignKey("annotator.id")),
    Column("lease_until", Time),
    Column("claimed", Time),
    Column("shown", Json),  # ids of the responses in the order shown
    Column("judgment_id", Id),
    UniqueConstraint("comparison_id", "annotator_id"),
    CheckConstraint(
        "(annotator_id IS NULL) = (shown IS NULL) AND "
        "(judgment_id IS NULL OR lease_until IS NULL)",
        name="held",
    ),
    Index("ix_slot_free", "project_id", "place", "k",
          sqlite_where=text("annotator_id IS NULL"), postgresql_where=text("annotator_id IS NULL")),
    Index("ix_slot_lease", "lease_until",
          sqlite_where=text("lease_until IS NOT NULL"),
          postgresql_where=text("lease_until IS NOT NULL")),
    Index("ix_slot_holder", "annotator_id", "project_id",
          sqlite_where=text("lease_until IS NOT NULL"),
          postgresql_where=text("lease_until IS NOT NULL")),
)  # fmt: skip

judgments = Table(
    "judgment",
    metadata,
    Column("id", Id, primary_key=True),  # given by the client, so that a repeat is known
    Column("comparison_id", Id, ForeignKey("comparison.id"), nullable=False),
    Column("project_id", Id),  # null while its import goes on
    Column("annotator_id", Id, ForeignKey("annotator.id"), nullable=False),
    Column("rubric_id", Id, ForeignKey("rubric.id")),
    Column("source", String(12), nullable=False, server_default="person"),
    Column("answer", Json, nullable=False),
    Column("shown", Json, nullable=False),
    Column("surplus", Boolean, nullable=False, server_default=text("false")),
    Column("is_correct", Boolean),  # against the expected answer, where there is one
    Column("replaces", Id),
    Column("withdrawn", Time),
    Column("started", Time, nullable=False),
    Column("submitted", Time, nullable=False),
    Column("active_ms", Integer, nullable=False, server_default=text("0")),
    _one_of("source", ("person", "imported", "model", "verifier")),
    Index("uq_judgment_standing", "comparison_id", "annotator_id", unique=True,
          sqlite_where=text("withdrawn IS NULL"), postgresql_where=text("withdrawn IS NULL")),
    Index("ix_judgment_annotator", "project_id", "annotator_id", "submitted"),
    Index("ix_judgment_time", "project_id", "submitted"),
)  # fmt: skip

drafts = Table(
    "draft",
    metadata,
    Column("comparison_id", Id, ForeignKey("comparison.id"), primary_key=True),
    Column("annotator_id", Id, ForeignKey("annotator.id"), primary_key=True),
    Column("answer", Json, nullable=False),
    Column("active_ms", Integer, nullable=False, server_default=text("0")),
    Column("revision", Integer, nullable=False),
    Column("saved", Time, nullable=False),
)

skips = Table(
    "skip",
    metadata,
    Column("comparison_id", Id, ForeignKey("comparison.id"), primary_key=True),
    Column("annotator_id", Id, ForeignKey("annotator.id"), primary_key=True),
    Column("reason", Text, nullable=False, server_default=""),
    Column("at", Time, nullable=False),
)

flags = Table(
    "flag",
    metadata,
    Column("id", Id, primary_key=True),
    Column("comparison_id", Id, ForeignKey("comparison.id"), nullable=False, index=True),
    Column("annotator_id", Id, ForeignKey("annotator.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Time, nullable=False),
    Column("resolved_by", Id, ForeignKey("annotator.id")),
    Column("resolved", Time),
)

decisions = Table(
    "decision",
    metadata,
    Column("comparison_id", Id, ForeignKey("comparison.id"), primary_key=True),
    Column("annotator_id", Id, ForeignKey("annotator.id"), nullable=False),
    Column("answer", Json, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("decided", Time, nullable=False),
)

events = Table(
    "event",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Time, nullable=False),
    Column("actor_id", Id),
    Column("project_id", Id, index=True),
    Column("action", String(40), nullable=False),
    Column("subject", Text, nullable=False, server_default=""),
    Column("detail", Json, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
)

chain = Table(
    "chain",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # the one row is 1
    Column("seq", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    CheckConstraint("id = 1", name="one"),
)

webhooks = Table(
    "webhook",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("project.id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("actions", Json, nullable=False),  # empty: all
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    Column("created", Time, nullable=False),
)

deliveries = Table(
    "delivery",
    metadata,
    Column("id", Id, primary_key=True),
    Column("webhook_id", Id, ForeignKey("webhook.id"), nullable=False, index=True),
    Column("event_seq", BigInteger, ForeignKey("event.seq"), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due", Time),  # null: done, or given up
    Column("status", Text, nullable=False, server_default=""),
    Index("ix_delivery_due", "due",
          sqlite_where=text("due IS NOT NULL"), postgresql_where=text("due IS NOT NULL")),
)  # fmt: skip
