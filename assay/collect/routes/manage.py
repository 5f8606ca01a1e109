"""Projects, people and data, for those who run them: a new project, its settings, its rubric.

People are in ``manage_people``, files, comparisons and the record in ``manage_data``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Form as Field
from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from assay.collect.asked import Form, project_of, store_of, texts, viewer_of
from assay.collect.forms import (
    DimensionForm,
    RubricForm,
    rubric_form,
    rubric_from,
    settings_from,
    settings_inputs,
    standard_dimension,
)
from assay.collect.pages import page, words_for
from assay.collect.routes import manage_data, manage_people
from assay.collect.routing import Policy, Route
from assay.errors import ConfigError
from assay.store import changing, people
from assay.store.presets import PRESETS
from assay.store.records import STANDARD_DIMENSIONS, ProjectSettings, Rubric
from assay.store.tables import KINDS

EMPTY_DIMENSIONS = 2
"""Empty dimensions at the end of a rubric's form."""


def new_form(request: Request) -> Response:
    """The form of a new project."""
    return _new_page(request, {"kind": "pair", "preset": "helpsteer", "overlap": "2",
                               "acceptability": "on", "rationale": "optional"}, {})  # fmt: skip


def new(request: Request, form: Form) -> Response:
    """Make a project; whoever makes it is its first admin."""
    typed = texts(form)
    ticked = tuple(d for d in STANDARD_DIMENSIONS if d in form.getlist("dimension"))
    settings, rubric, errors = _new_parts(request, typed, ticked)
    store, viewer = store_of(request), viewer_of(request)
    if settings is not None and rubric is not None:
        try:
            project_id = store.create_project(typed.get("name", ""), settings, rubric, viewer.id)
        except ConfigError as error:
            errors["name"] = str(error)
        else:
            store.write(people.set_role, project_id, viewer.id, "admin", viewer.id)
            return RedirectResponse(f"/projects/{project_id}/data?done=project", 303)
    return _new_page(request, typed, errors, ticked, 422)


def _new_parts(
    request: Request, typed: dict[str, str], ticked: tuple[str, ...]
) -> tuple[ProjectSettings | None, Rubric | None, dict[str, str]]:
    errors: dict[str, str] = {}
    settings, rubric = None, None
    kind = typed.get("kind", "pair")
    if kind not in KINDS:
        errors["kind"] = f"The kind of question must be one of {', '.join(KINDS)}."
    try:
        overlap = typed.get("overlap", "1").strip()
        settings = ProjectSettings(overlap=int(overlap) if overlap.isdecimal() else -1)
    except ConfigError as error:
        errors["overlap"] = str(error)
    asked = typed.get("question", "").strip() or str(words_for(request)(f"new.question.{kind}"))
    scale = typed.get("scale", "comparative")
    if scale not in ("comparative", "absolute"):
        errors["scale"] = "The scale of dimensions must be comparative or absolute."
        scale = "comparative"
    for name in ("question", "preset", "rationale"):
        value = asked if name == "question" else typed.get(name, "")
        try:
            Rubric.from_dict({name: value})
        except ConfigError as error:
            errors[name] = str(error)
    if not errors:
        rubric = Rubric(
            question=asked, preset=typed["preset"], rationale=typed["rationale"],  # type: ignore[arg-type]
            acceptability=typed.get("acceptability") == "on",
            dimensions=tuple(standard_dimension(name, scale) for name in ticked),
        )  # fmt: skip
    return settings, rubric, errors


def _new_page(
    request: Request,
    typed: dict[str, str],
    errors: dict[str, str],
    ticked: tuple[str, ...] = (),
    status: int = 200,
) -> Response:
    return page(
        request, "manage_new.html", status, typed=typed, errors=errors, ticked=ticked, kinds=KINDS,
        presets=PRESETS, standard=STANDARD_DIMENSIONS,
    )  # fmt: skip


# --- settings and rubric --------------------------------------------------------------------------


def settings_form(request: Request) -> Response:
    """Settings and rubric of a project."""
    return _settings_page(request)


def change_settings(request: Request, form: Form) -> Response:
    """New settings; what is wrong is said beside its field."""
    project = project_of(request)
    typed = texts(form)
    settings, inputs = settings_from(typed)
    existing = typed.get("existing") == "on"
    if settings is None:
        return _settings_page(request, 422, inputs=inputs, existing=existing)
    store, actor = store_of(request), viewer_of(request).id
    store.change_project(project.id, settings=settings, actor_id=actor)
    done = "settings"
    if existing:
        changing.set_every_overlap(store.database, project.id, settings.overlap, actor)
        done = "settings-existing"
    return RedirectResponse(f"/projects/{project.id}/settings?done={done}", 303)


def change_rubric(request: Request, form: Form) -> Response:
    """A new version of the rubric, or a form with room for another dimension."""
    project = project_of(request)
    rubric, typed = rubric_from(texts(form))
    if form.get("more"):
        return _settings_page(request, rubric=typed, empty=EMPTY_DIMENSIONS + 2)
    if rubric is None:
        return _settings_page(request, 422, rubric=typed)
    store_of(request).change_project(project.id, rubric=rubric, actor_id=viewer_of(request).id)
    done = "rubric" if rubric != project.rubric else "same-rubric"
    return RedirectResponse(f"/projects/{project.id}/settings?done={done}#rubric", 303)


def pause(request: Request, paused: Annotated[str, Field(max_length=5)] = "") -> Response:
    """Stop giving work out, or go on."""
    project = project_of(request)
    store_of(request).change_project(
        project.id, is_paused=paused == "on", actor_id=viewer_of(request).id
    )
    done = "paused" if paused == "on" else "going-on"
    return RedirectResponse(f"/projects/{project.id}/settings?done={done}", 303)


def preview(request: Request) -> Response:
    """What annotators are asked, without a comparison."""
    project = project_of(request)
    return page(request, "manage_preview.html", project=project,
                preset=PRESETS[project.rubric.preset])  # fmt: skip


def _settings_page(
    request: Request,
    status: int = 200,
    inputs: list[Any] | None = None,
    rubric: RubricForm | None = None,
    empty: int = EMPTY_DIMENSIONS,
    existing: bool = False,
) -> Response:
    project = project_of(request)
    shown = rubric or rubric_form(project.rubric)
    blank = [DimensionForm()] * empty
    return page(
        request, "manage_settings.html", status, project=project,
        inputs=settings_inputs(project.settings) if inputs is None else inputs,
        rubric=replace(shown, dimensions=[*shown.dimensions, *blank]), presets=PRESETS,
        done=done_of(request), has_errors=status == 422, existing=existing,
    )  # fmt: skip


DONE = ("settings", "settings-existing", "rubric", "same-rubric", "paused", "going-on")


def done_of(request: Request) -> str | None:
    """What the page before has done, to be said on this one."""
    said = request.query_params.get("done")
    return said if said in DONE else None


ROUTES: tuple[Route, ...] = (
    Route("GET", "/projects/new", new_form, Policy.SITE_ADMIN),
    Route("POST", "/projects/new", new, Policy.SITE_ADMIN),
    Route("GET", "/projects/{project_id}/settings", settings_form, Policy.PROJECT_ADMIN),
    Route("POST", "/projects/{project_id}/settings", change_settings, Policy.PROJECT_ADMIN),
    Route("POST", "/projects/{project_id}/rubric", change_rubric, Policy.PROJECT_ADMIN),
    Route("POST", "/projects/{project_id}/pause", pause, Policy.PROJECT_ADMIN),
    Route("GET", "/projects/{project_id}/rubric", preview, Policy.REVIEWER),
    *manage_people.ROUTES,
    *manage_data.ROUTES,
)
