"""Progress, agreement, adjudication and quality, for reviewers."""

from __future__ import annotations

from assay.collect.routing import Route

ROUTES: tuple[Route, ...] = ()
