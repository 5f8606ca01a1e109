"""What endpoints read of a request: the store, who asks, the project in the path, the form."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile

from assay.collect.routing import Viewer, client_of, hidden
from assay.errors import StoreError
from assay.store.ids import checked_id
from assay.store.store import PreferenceStore, Project

MINUTE = 60


def store_of(request: Request) -> PreferenceStore:
    """The store of the site."""
    store: PreferenceStore = request.app.state.store
    return store


def viewer_of(request: Request) -> Viewer:
    """Who asks."""
    viewer: Viewer = request.state.viewer
    return viewer


def project_of(request: Request) -> Project:
    """The project that the path names."""
    try:
        return store_of(request).project(checked_id(request.path_params["project_id"]))
    except (StoreError, ValueError):
        raise hidden() from None


def limit(request: Request, name: str, most: int, seconds: float = MINUTE) -> None:
    """Count an attempt of an address.

    Raises:
        TooOftenError: If there were too many.
    """
    request.app.state.limiter.check(name, client_of(request), most, seconds)


async def _form(request: Request) -> AsyncIterator[FormData]:
    form = await request.form()
    yield form
    await form.close()


Form = Annotated[FormData, Depends(_form)]
"""A form with fields that are not known beforehand."""


def texts(form: FormData) -> dict[str, str]:
    """The fields that are no files."""
    return {key: value for key, value in form.items() if isinstance(value, str)}


def file_of(form: FormData, name: str) -> UploadFile | None:
    """A file that was chosen."""
    found = form.get(name)
    return found if isinstance(found, UploadFile) and found.filename else None
