"""What programs ask for: REST under /api/v1."""

from __future__ import annotations

from assay.collect.routing import Route

ROUTES: tuple[Route, ...] = ()
