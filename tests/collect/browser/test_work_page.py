"""The page of work in a real browser: by keyboard alone, without a network, in two tabs."""

import gzip
import json
from typing import Any

import pytest

from assay.store import people
from assay.store.presets import PRESETS
from assay.store.records import Dimension, NewComparison, NewResponse, Rubric
from assay.types import as_messages

pytestmark = pytest.mark.medium


def solution(**more: Any) -> NewComparison:
    steps = ("Let $x$ be it.", "Then $2x = 8$.", "So $x = 5$.")
    return NewComparison(
        as_messages("Twice it is eight.", "user"),
        (NewResponse(as_messages("…", "assistant"), steps=tuple({"text": s} for s in steps)),),
        kind="steps",
        **more,
    )


def ranking() -> NewComparison:
    return NewComparison(
        as_messages("A word?", "user"),
        tuple(NewResponse(as_messages(word, "assistant")) for word in ("one", "two", "three")),
        kind="ranking",
    )


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def wait_sent(page: Any) -> None:
    page.wait_for_selector("#outbox[data-waiting='0']", state="attached")


def test_a_pair_by_keyboard_alone(site: Any, desk: Any, pair: Any, ready: Any, until: Any) -> None:
    project = site.project("Pairs", [pair(i) for i in range(3)], Rubric(instructions="*Read*"))
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    first = ready(page)
    press(page, "ArrowLeft", "ArrowLeft")  # slightly, then better
    assert page.is_checked("input[value=first-better]")
    press(page, "5")
    assert page.is_checked("input[value=second-better]")
    press(page, "g")
    assert page.evaluate("document.querySelector('#guidelines').open")
    press(page, "1", "Control+Enter")
    until(lambda: len(site.judgments()) == 1, page)
    page.wait_for_selector(f"#task:not([data-ready='{first}'])")
    second = ready(page)
    assert second != first
    # who works without looking at the screen is told where they are: at the next question
    assert page.evaluate("document.activeElement.id") == "question"
    press(page, "t", "Enter")
    until(lambda: len(site.judgments()) == 2, page)
    page.wait_for_selector(f"#task:not([data-ready='{second}'])")
    third = ready(page)
    press(page, "Backspace")  # the second again, with its answer
    page.wait_for_selector(f"#task[data-ready='{second}']")
    assert page.is_checked("input[value=tie]")
    until(lambda: len(site.judgments()) == 1, page)
    press(page, "6", "Enter")
    page.wait_for_selector(f"#task[data-ready='{third}']")
    press(page, "0", "Enter")
    page.wait_for_selector("#task[data-state=none-left]")
    until(lambda: len(site.judgments()) == 3, page)
    by = {j.comparison_id: j for j in site.judgments()}
    assert by[first].answer["raw"] == "first-much"
    assert by[first].answer["choice"] == by[first].shown[0]
    assert by[second].answer["raw"] == "second-much"
    assert by[third].answer["raw"] == "tie"
    assert all(j.active_ms >= 0 and j.rubric_id for j in by.values())
    assert site.store.problems() == []
    mine.check(page)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_each_scale_by_keyboard(
    preset: str, site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    points = PRESETS[preset].points
    project = site.project("Scale", [pair(i) for i in range(max(1, len(points)))],
                           Rubric(preset=preset, acceptability=False), prefetch=3)  # fmt: skip
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    wanted = []
    if preset == "slider":
        ready(page)
        press(page, "ArrowRight", "ArrowRight", "ArrowLeft", "Enter")
        wanted.append("5")
    for point in points:
        at = ready(page)
        press(page, point.key, "Enter")
        page.wait_for_selector(f"#task:not([data-ready='{at}']), #task[data-state=none-left]")
        wanted.append(point.id)
    until(lambda: len(site.judgments()) == len(wanted), page)
    assert sorted(j.answer["raw"] for j in site.judgments()) == sorted(wanted)
    mine.check(page)


def test_a_ranking_by_keyboard_alone(site: Any, desk: Any, ready: Any, until: Any) -> None:
    project = site.project("Ranks", [ranking(), ranking_of_two()])
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    press(page, "Enter")
    page.wait_for_selector("#notices .problem")  # nothing is ranked
    press(page, "j", "2", "j", "1", "j", "1")
    assert page.inner_text("#order") == "Order: B = C > A"
    page.click("section:nth-of-type(1) button[data-move='-1']")
    assert "A > B = C" in page.inner_text("#order")
    page.locator("section:nth-of-type(3) select").focus()
    page.keyboard.press("3")
    assert "A > B > C" in page.inner_text("#order")
    shown = json.loads(page.get_attribute("form.task", "data-task"))["shown"]
    press(page, "Control+Enter")
    until(lambda: len(site.judgments()) == 1, page)
    assert site.judgments()[0].answer["groups"] == [[i] for i in shown]
    mine.check(page)


def ranking_of_two() -> NewComparison:
    return NewComparison(
        as_messages("Another word?", "user"),
        tuple(NewResponse(as_messages(word, "assistant")) for word in ("four", "five")),
        kind="ranking",
    )


def test_steps_by_keyboard_alone(site: Any, desk: Any, ready: Any, until: Any) -> None:
    project = site.project("Steps", [solution()])
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    press(page, "1", "2", "3", "k", "k", "0", "Enter")
    until(lambda: len(site.judgments()) == 1, page)
    assert site.judgments()[0].answer["labels"] == [None, 0, -1]
    mine.check(page)


def test_the_first_error_by_keyboard_alone(site: Any, desk: Any, ready: Any, until: Any) -> None:
    rubric = Rubric(step_mode="first-error")
    project = site.project("Errors", [solution(), solution(place=9.0)], rubric)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    first = ready(page)
    press(page, "j", "j", "x", "Enter")
    page.wait_for_selector(f"#task:not([data-ready='{first}'])")
    ready(page)
    press(page, "0", "Enter")
    until(lambda: len(site.judgments()) == 2, page)
    assert [j.answer["first_error"] for j in site.judgments()] == [1, None]
    mine.check(page)


def test_everything_a_rubric_can_ask(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    rubric = Rubric(
        dimensions=(Dimension(name='odd "name" & <b>'), Dimension(name="help", scale="absolute")),
        reasons=("clearer", "safer"), rationale="required",
    )  # fmt: skip
    project = site.project("All", [pair(1), pair(2)], rubric)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    a, b = json.loads(page.get_attribute("form.task", "data-task"))["shown"]
    press(page, "2", "Enter")
    assert site.judgments() == []  # the dimensions are missing
    page.check(f"input[name='accept.{a}'][value=good]")
    page.check("input[name='dim.0'][value=tie]")
    page.check(f"input[name='dim.1.{a}'][value='4']")
    page.check(f"input[name='dim.1.{b}'][value='2']")
    page.check("input[name=reason][value=safer]")
    page.fill("textarea[name=rationale]", "b f g 1 are no keys here")
    press(page, "Control+Enter")
    until(lambda: len(site.judgments()) == 1, page)
    answer = site.judgments()[0].answer
    assert answer["raw"] == "first-better"
    assert answer["acceptability"] == {a: "good"}
    assert answer["dimensions"]['odd "name" & <b>']["raw"] == "tie"
    assert answer["dimensions"]["help"] == {"ratings": {a: 4, b: 2}}
    assert answer["reasons"] == ["safer"]
    assert answer["rationale"] == "b f g 1 are no keys here"
    mine.check(page)


def test_offline_answers_are_sent_later(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Away", [pair(i) for i in range(12)], prefetch=11)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    until(lambda: held(site) == 11, page)
    page.wait_for_timeout(200)
    mine.context.set_offline(True)
    for number in range(10):
        at = ready(page)
        press(page, str(1 + number % 6), "Enter")
        page.wait_for_selector(f"#task:not([data-ready='{at}'])")
    assert site.judgments() == []
    assert page.get_attribute("#outbox", "data-waiting") == "10"
    # nothing says that it is saved before the server said so
    assert "waiting" in page.inner_text("#outbox")
    assert page.inner_text("#notices") == ""
    page.fill("textarea[name=rationale]", "a draft")
    page.wait_for_selector("text=Draft kept on this device")
    page.close()  # the tab is killed
    mine.context.set_offline(False)
    page = mine.page(f"/projects/{project}/work")
    until(lambda: len(site.judgments()) == 10, page)
    wait_sent(page)
    assert len({j.comparison_id for j in site.judgments(standing=False)}) == 10
    assert len(site.judgments(standing=False)) == 10
    assert {j.answer["raw"] for j in site.judgments()} == {
        f"{side}-{much}" for side in ("first", "second") for much in ("much", "better", "slightly")
    }
    ready(page)
    assert page.input_value("textarea[name=rationale]") == "a draft"
    assert site.store.problems() == []
    mine.check(page)


# on a busy machine what a claim reads of the outbox comes late, and what is pressed goes on
LATE = """
let isLate = false;
const request = LockManager.prototype.request;
LockManager.prototype.request = function (name, ...rest) {
  const work = rest.pop();
  return request.call(this, name, ...rest, (lock) => {
    isLate = name.endsWith("-claim");
    try {
      return work(lock);
    } finally {
      isLate = false;
    }
  });
};
const getAll = IDBObjectStore.prototype.getAll;
IDBObjectStore.prototype.getAll = function (...args) {
  const found = getAll.apply(this, args);
  if (this.name !== "outbox" || !isLate) return found;
  Object.defineProperty(found, "onsuccess", {
    set: (then) => found.addEventListener("success", (event) => setTimeout(then, 500, event)),
  });
  return found;
};
"""


def test_what_is_answered_while_another_is_fetched_is_not_shown_again(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Late", [pair(i) for i in range(3)], prefetch=2)
    mine = desk(site.person("Ann", project))
    mine.context.add_init_script(LATE)
    page = mine.page()
    waiting: list[Any] = []
    page.route("**/api/v1/judgments", lambda route: waiting.append(route))
    page.goto(f"{site.url}/projects/{project}/work")
    for _ in range(3):
        at = ready(page)
        press(page, "1", "Enter")
        until(lambda: bool(waiting), page)
        page.wait_for_timeout(700)  # the claim overtakes the answer
        waiting.pop().continue_()
        page.wait_for_selector(f"#task:not([data-ready='{at}']), #task[data-state=none-left]")
    until(lambda: len(site.judgments()) == 3, page)
    wait_sent(page)
    assert len(site.judgments(standing=False)) == 3
    mine.check(page)


def test_a_comparison_undone_while_the_next_is_on_its_way_stays(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Undone", [pair(i) for i in range(3)], prefetch=1)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    first = ready(page)
    waiting: list[Any] = []
    page.route("**/claim", lambda route: waiting.append(route), times=1)
    press(page, "1", "Enter")
    until(lambda: bool(waiting) and bool(site.judgments()), page)
    wait_sent(page)
    press(page, "Backspace")
    until(lambda: not site.judgments(), page)
    page.wait_for_selector("text=Your last answer is open again.")
    waiting[0].continue_()
    page.wait_for_timeout(500)
    assert json.loads(page.get_attribute("form.task", "data-task"))["comparison_id"] == first
    assert page.is_checked("input[value=first-much]")
    press(page, "2", "Enter")
    page.wait_for_selector(f"#task:not([data-ready='{first}'])")
    until(lambda: len(site.judgments()) == 1, page)
    assert ready(page) != first
    mine.check(page)


def held(site: Any) -> int:
    def count(connection: Any) -> int:
        return int(connection.exec_driver_sql(
            "select count(*) from slot where lease_until is not null"
        ).scalar())  # fmt: skip

    return int(site.store.read(count))


def test_a_restarted_server_is_sent_what_waited(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Restart", [pair(i) for i in range(4)], prefetch=4)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    first = ready(page)
    until(lambda: held(site) == 4, page)
    page.wait_for_timeout(200)
    site.stop()
    press(page, "1", "Enter")
    page.wait_for_selector(f"#task:not([data-ready='{first}'])")
    ready(page)
    press(page, "2", "Enter")
    page.wait_for_selector("#outbox[data-waiting='2']")
    site.start()
    until(lambda: len(site.judgments()) == 2, page)
    wait_sent(page)
    page.wait_for_selector("#notices .good")
    mine.check(page)


def test_two_tabs_show_two_comparisons(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Tabs", [pair(i) for i in range(4)], prefetch=4)
    mine = desk(site.person("Ann", project))
    one = mine.page(f"/projects/{project}/work")
    first = ready(one)
    two = mine.page(f"/projects/{project}/work")
    two.wait_for_selector(f"#task[data-ready]:not([data-ready='{first}'])")
    assert ready(two) != first
    mine.context.set_offline(True)
    for page in (one, two):
        page.bring_to_front()
        press(page, "1", "Enter")
    one.wait_for_selector("#outbox[data-waiting='2']", state="attached")
    mine.context.set_offline(False)
    until(lambda: len(site.judgments()) == 2, one)
    one.wait_for_timeout(500)
    assert len(site.judgments(standing=False)) == 2  # each was sent once, by one of the tabs
    mine.check(one)
    mine.check(two)


def test_a_double_click_is_one_answer(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Twice", [pair(i) for i in range(3)], prefetch=3)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    until(lambda: held(site) == 3, page)
    press(page, "1")
    page.dblclick("button[value=submit]")
    until(lambda: len(site.judgments()) == 1, page)
    page.wait_for_timeout(500)
    assert len(site.judgments(standing=False)) == 1
    mine.check(page)


def test_a_draft_is_kept_within_a_second(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Drafts", [pair(1)])
    ann = site.person("Ann", project)
    mine = desk(ann)
    page = mine.page(f"/projects/{project}/work")
    ready(page)

    def drafts() -> list[Any]:
        return site.store.read(
            lambda c: c.exec_driver_sql("select answer from draft").scalars().all()
        )

    press(page, "3")
    page.wait_for_selector("text=Draft saved", timeout=5000)
    assert "first-slightly" in drafts()[0]
    page.fill("textarea[name=rationale]", "half a thought")
    page.keyboard.press("Control+s")
    until(lambda: "half a thought" in drafts()[0], page)
    page.close()
    other = desk(ann)  # another device
    page = other.page(f"/projects/{project}/work")
    ready(page)
    assert page.is_checked("input[value=first-slightly]")
    assert page.input_value("textarea[name=rationale]") == "half a thought"
    other.check(page)


def test_a_lease_warns_and_is_extended(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Lease", [pair(1)], lease_minutes=1.0)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)

    def lease() -> int:
        return int(site.store.read(
            lambda c: c.exec_driver_sql("select lease_until from slot").scalar()
        ))  # fmt: skip

    page.wait_for_selector(".lease:not([hidden])")
    before = lease()
    page.click("[data-do=extend]")
    until(lambda: lease() > before, page)
    mine.check(page)


def test_a_late_answer_is_kept_and_not_needed(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Late", [pair(1)])
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    at = ready(page)
    bob = site.person("Bob", project)
    site.store.write(lambda c: c.exec_driver_sql("update slot set lease_until = 1"))
    taken = site.store.claim(project, bob)
    site.store.submit(bob, "0192f0c0-0000-7000-8000-000000000001", at, {"raw": "tie"},
                      shown=[r.id for r in taken.responses])  # fmt: skip
    press(page, "1", "Enter")
    page.wait_for_selector("text=it was not needed")
    until(lambda: len(site.judgments()) == 2, page)
    assert [j.surplus for j in site.judgments()] == [False, True]
    mine.check(page)


def test_a_refused_answer_says_why_and_comes_back(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Refused", [pair(1), pair(2)])
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    page.evaluate("document.querySelector('input[value=tie]').value = 'nonsense'")
    press(page, "0", "Enter")
    page.wait_for_selector("#outbox .problem")
    assert "nonsense" in page.inner_text("#outbox")
    page.click("text=Open it again")
    ready(page)
    page.wait_for_selector("#outbox .problem", state="detached")
    press(page, "0", "Enter")
    until(lambda: len(site.judgments()) == 1, page)
    mine.check(page)


def test_training_tells_what_was_expected(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    items = [pair(1, purpose="training", expected={"choice": 0}), pair(2)]
    project = site.project("Training", items)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    first = ready(page)
    press(page, "0", "Enter")
    page.wait_for_selector("#task[data-state=feedback]")
    assert "Another answer was expected" in page.inner_text("#task")
    press(page, "Enter")
    page.wait_for_selector(f"#task[data-state=task]:not([data-ready='{first}'])")
    mine.check(page)


def test_skip_and_flag(site: Any, desk: Any, pair: Any, ready: Any, until: Any) -> None:
    project = site.project("Flags", [pair(1), pair(2)])
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    first = ready(page)
    press(page, "f")
    page.keyboard.type("The prompt is cut off. 123 b")
    press(page, "Enter")
    page.wait_for_selector("#notices .good")
    flags = site.store.read(lambda c: c.exec_driver_sql("select reason from flag").scalars().all())
    assert flags == ["The prompt is cut off. 123 b"]
    page.click("button[value=skip]")
    page.wait_for_selector(f"#task:not([data-ready='{first}'])")
    assert ready(page) != first
    mine.check(page)


def test_keys_can_be_chosen_and_switched_off(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Keys", [pair(1)])
    ann = site.person("Ann", project)
    mine = desk(ann)
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    press(page, "?")
    page.wait_for_selector("#help[open]")
    page.focus("[name='key.tie']")
    press(page, "z")
    page.focus("[name='key.both-bad']")
    press(page, "z")
    page.click("#help button[value=save]")
    page.wait_for_selector("#help .problem:not([hidden])")  # one key for two
    page.focus("[name='key.both-bad']")
    press(page, "Delete")
    page.click("#help button[value=save]")
    page.wait_for_selector("#help[open]", state="detached")
    press(page, "t")
    assert not page.is_checked("input[value=tie]")
    press(page, "z")
    assert page.is_checked("input[value=tie]")
    page.reload()
    ready(page)
    press(page, "1", "z")
    assert page.is_checked("input[value=tie]")
    press(page, "?")
    page.uncheck("#help [name=on]")
    page.click("#help button[value=save]")
    page.wait_for_selector("#help[open]", state="detached")
    page.focus("#question")
    press(page, "1")
    assert page.is_checked("input[value=tie]")
    settings = site.store.read(people.annotator, ann).settings
    assert settings["keys"]["on"] is False
    mine.check(page)


def test_keys_are_dead_while_a_word_is_composed(
    site: Any, desk: Any, pair: Any, ready: Any
) -> None:
    project = site.project("Compose", [pair(1)])
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown',"
        "{key: '1', bubbles: true, isComposing: true}))"
    )
    assert page.locator("input[name=raw]:checked").count() == 0
    press(page, "1")
    assert page.locator("input[name=raw]:checked").count() == 1


def test_the_work_goes_on_after_signing_in_again(
    site: Any, desk: Any, pair: Any, ready: Any, until: Any
) -> None:
    project = site.project("Session", [pair(i) for i in range(3)], prefetch=3)
    ann = site.person("Ann", project)
    mine = desk(ann)
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    site.store.write(lambda c: c.exec_driver_sql("delete from session"))
    press(page, "1", "Enter")
    page.wait_for_selector("text=You are signed out")
    secret, _ = site.store.write(people.open_session, ann)
    mine.context.add_cookies([{"name": "assay_session", "value": secret, "url": site.url}])
    page.click("text=Send now")
    until(lambda: len(site.judgments()) == 1, page)
    page.wait_for_selector("text=You are signed out", state="detached")


def test_it_works_without_the_script(site: Any, desk: Any, pair: Any, until: Any) -> None:
    project = site.project("Plain", [pair(1), pair(2)])
    mine = desk(site.person("Ann", project), java_script_enabled=False)
    page = mine.page(f"/projects/{project}/work")
    page.locator("label:has(input[value=first-much])").click()
    page.click("button[value=submit]")
    page.wait_for_selector("text=Saved.")
    page.click("button[value=undo]")
    page.wait_for_selector("text=Your last answer is open again.")
    assert page.is_checked("input[value=first-much]")
    assert site.judgments() == []
    page.click("summary >> text=Something is wrong")
    page.fill("[name=flag_reason]", "odd")
    page.click("button[value=flag]")
    page.wait_for_selector("text=A reviewer will look at it.")
    page.click("button[value=skip]")
    page.wait_for_selector("text=Skipped.")


def test_the_first_load_is_small_and_of_this_site(
    site: Any, desk: Any, pair: Any, ready: Any
) -> None:
    project = site.project("Small", [pair(i) for i in range(3)])
    mine = desk(site.person("Ann", project))
    bodies: dict[str, bytes] = {}
    page = mine.page()
    page.on("response", lambda response: bodies.update({response.url: response.body()}))
    page.goto(f"{site.url}/projects/{project}/work")
    ready(page)
    page.wait_for_load_state("networkidle")
    kinds = {address.rpartition(".")[2] for address in bodies}
    assert {"css", "js"} <= kinds
    assert sum(len(gzip.compress(body)) for body in bodies.values()) < 60_000
    assert sum(map(len, bodies.values())) <= 150_000  # as it is served, which is not compressed
    mine.check(page)  # nor did anything go elsewhere


def test_words_that_differ_are_marked_when_asked(
    site: Any, desk: Any, pair: Any, ready: Any
) -> None:
    project = site.project("Diff", [pair(1)], word_diff=True)
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    look = "getComputedStyle(document.querySelector('mark.differs')).textDecorationLine"
    assert page.evaluate(look) == "none"
    press(page, "d")
    assert page.evaluate(look) == "underline"
    mine.check(page)


def test_arrows_follow_the_page_from_right_to_left(
    site: Any, desk: Any, pair: Any, ready: Any
) -> None:
    project = site.project("RTL", [pair(1)], Rubric(preset="binary"))
    mine = desk(site.person("Ann", project, locale="ar"))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    assert page.get_attribute("html", "dir") == "rtl"
    press(page, "ArrowRight")  # the first response is on the right
    assert page.is_checked("input[value=first-better]")
    mine.check(page)
