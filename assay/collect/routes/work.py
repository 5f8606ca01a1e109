"""The page on which annotators judge, and what its script asks for."""

from __future__ import annotations

from assay.collect.routing import Route

ROUTES: tuple[Route, ...] = ()
