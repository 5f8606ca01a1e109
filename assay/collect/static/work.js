// The page on which annotators judge. Answers go into an outbox on this device first and leave it
// when the server says that it has them; comparisons are fetched ahead, so that work goes on while
// the network is away. Without this script the page works by plain forms.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const setup = JSON.parse($("#setup").textContent);
const box = $("#task");
const live = $("#live");
// what is put in is our own server's, which lets no script through
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("assay", { createHTML: (html) => html })
  : { createHTML: (html) => html };

const IDLE_MS = 30_000;
const WARN_MS = 120_000;
const DRAFT_MS = 600;
const MOST_WAIT_MS = 30_000;
const TIMEOUT_MS = 20_000;

const say = (key, values = {}) =>
  (setup.words[`js.${key}`] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);

function uuid7() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let time = Date.now();
  for (let i = 5; i >= 0; i--) {
    bytes[i] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// --- what is kept on this device -----------------------------------------------------------------

const STORES = { outbox: "id", tasks: "comparison_id", drafts: "comparison_id" };

/** A database of this annotator alone: whoever signs in next does not send another's answers. */
function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(`assay-${setup.annotator_id}`, 1);
    request.onupgradeneeded = () => {
      for (const [name, keyPath] of Object.entries(STORES))
        request.result.createObjectStore(name, { keyPath });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

let database = null;
const memory = Object.fromEntries(Object.keys(STORES).map((name) => [name, new Map()]));

/** Put and delete in one transaction; done when it is on the disk. */
function change(puts, deletes = []) {
  if (!database) {
    for (const [store, value] of puts) memory[store].set(value[STORES[store]], value);
    for (const [store, key] of deletes) memory[store].delete(key);
    return Promise.resolve();
  }
  return new Promise((resolve, reject) => {
    const options = { durability: "strict" };
    const transaction = database.transaction(Object.keys(STORES), "readwrite", options);
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
    for (const [store, value] of puts) transaction.objectStore(store).put(value);
    for (const [store, key] of deletes) transaction.objectStore(store).delete(key);
  });
}

function read(store, key) {
  if (!database) return Promise.resolve(memory[store].get(key));
  return new Promise((resolve, reject) => {
    const request = database.transaction(store).objectStore(store).get(key);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** What waits and the comparisons of this project, as they stood at one moment: an answer moves from
 * one to the other, and read one after the other it could be in neither. */
async function kept() {
  const names = ["outbox", "tasks"];
  let [records, held] = names.map((name) => [...memory[name].values()]);
  if (database) {
    [records, held] = await new Promise((resolve, reject) => {
      const transaction = database.transaction(names);
      const found = names.map((name) => transaction.objectStore(name).getAll());
      transaction.oncomplete = () => resolve(found.map((request) => request.result));
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }
  return {
    outbox: records.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1)),
    tasks: held
      .filter((task) => task.project_id === setup.project_id)
      .sort((a, b) => a.got - b.got),
  };
}

const outbox = async () => (await kept()).outbox;
const tasks = async () => (await kept()).tasks;

/** Run work while no other tab of this browser does. */
function alone(name, work) {
  if (!navigator.locks) return work();
  return navigator.locks.request(`assay-${setup.annotator_id}-${name}`, work);
}

/** Take a comparison for this tab: what gives it back, or null where another tab shows it. */
function taken(id) {
  if (!navigator.locks) return Promise.resolve(() => {});
  return new Promise((resolve) => {
    const name = `assay-${setup.annotator_id}-task-${id}`;
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      if (!lock) return resolve(null);
      return new Promise((free) => resolve(free));
    });
  });
}

const channel = window.BroadcastChannel
  ? new BroadcastChannel(`assay-${setup.annotator_id}`)
  : { postMessage() {} };

// --- asking the server ---------------------------------------------------------------------------

class Away extends Error {}

/** The answer of a request: its status and JSON. Raises Away where none came. */
async function call(method, path, body, more = {}) {
  let response;
  const { again = true, ...options } = more;
  try {
    response = await fetch(path, {
      method,
      headers: { "Content-Type": "application/json", "X-CSRF-Token": setup.csrf },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...options,
    });
  } catch (error) {
    throw new Away(String(error));
  }
  const json = await response.json().catch(() => null);
  if (response.status === 401 || (response.status === 403 && json?.code === "csrf")) {
    if (again && (await renewed())) return call(method, path, body, { ...more, again: false });
    signedOut = true;
    throw new Away("signed out");
  }
  if (response.status >= 500 || response.status === 429 || response.status === 408 || !json) {
    throw new Away(json?.message ?? `status ${response.status}`);
  }
  signedOut = false;
  return { ok: response.ok, status: response.status, json };
}

let signedOut = false;

/** Whether we are signed in again as the same annotator, in another tab for instance. */
async function renewed() {
  try {
    const response = await fetch("/api/v1/me/session");
    if (!response.ok) return false;
    const session = await response.json();
    if (session.annotator_id !== setup.annotator_id) return false;
    setup.csrf = session.csrf;
    for (const input of $$("input[name=csrf]")) input.value = session.csrf;
    return true;
  } catch {
    return false;
  }
}

// --- notices -------------------------------------------------------------------------------------

const announce = (text) => {
  live.textContent = "";
  requestAnimationFrame(() => (live.textContent = text));
};

function notice(text, kind = "notice") {
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  if (kind === "problem") line.setAttribute("role", "alert");
  $("#notices").replaceChildren(line);
  if (kind !== "problem") announce(text);
}

const quiet = () => $("#notices").replaceChildren();

function element(tag, text, more = {}) {
  const made = Object.assign(document.createElement(tag), more);
  if (text !== undefined) made.textContent = text;
  return made;
}

let away = false;

/** The banner of what has not been sent: waiting, offline, signed out, refused and why. */
async function showOutbox() {
  const records = await outbox();
  const waiting = records.filter((record) => record.state === "waiting");
  const refused = records.filter((record) => record.state === "refused");
  const parts = [];
  const offline = away || !navigator.onLine;
  if (waiting.length || offline || signedOut) {
    const line = element("p", undefined, { className: "notice" });
    const words = [];
    if (signedOut) words.push(say("signed-out"));
    else if (offline) words.push(say("offline"));
    if (waiting.length) words.push(say("waiting", { n: waiting.length }));
    line.append(words.join(" "), " ");
    if (signedOut) {
      line.append(element("a", say("sign-in"), { href: "/login", target: "_blank" }), " ");
    }
    const retry = element("button", say("send-now"), { type: "button", className: "quiet" });
    retry.addEventListener("click", () => {
      tries = 0;
      flush();
    });
    if (waiting.length || signedOut) line.append(retry);
    parts.push(line);
  }
  for (const record of refused) {
    const line = element("p", say("refused", { reason: record.message }), { className: "problem" });
    const open = element("button", say("open-again"), { type: "button", className: "quiet" });
    open.addEventListener("click", () => reopen(record));
    const drop = element("button", say("throw-away"), { type: "button", className: "quiet" });
    drop.addEventListener("click", async () => {
      await change([], [["outbox", record.id]]);
      showOutbox();
    });
    line.append(" ", open, " ", drop);
    parts.push(line);
  }
  const place = $("#outbox");
  const said = parts.map((part) => part.firstChild.textContent).join(" ");
  if (said && said !== place.dataset.said) announce(said);
  place.dataset.said = said;
  place.dataset.waiting = waiting.length;
  place.replaceChildren(...parts);
  place.hidden = !parts.length;
}

// --- sending -------------------------------------------------------------------------------------

let tries = 0;
let timer = null;
let flushing = null;
let wanted = false;
const results = new Map();

function later() {
  away = true;
  clearTimeout(timer);
  const wait = Math.min(MOST_WAIT_MS, 1000 * 2 ** tries) * (0.75 + Math.random() / 2);
  tries += 1;
  timer = setTimeout(flush, wait);
}

/** Send what waits, in its order, one tab at a time; what fails is tried again. */
function flush() {
  wanted = true;
  flushing ??= (async () => {
    try {
      while (wanted) {
        wanted = false;
        await alone("send", sendAll);
      }
    } finally {
      flushing = null;
    }
    await showOutbox();
  })();
  return flushing;
}

async function sendAll() {
  clearTimeout(timer);
  let isOneSent = false;
  for (;;) {
    // read anew each time: another tab may have sent it
    const record = (await outbox()).find((one) => one.state === "waiting");
    if (!record) break;
    try {
      await send(record);
    } catch (error) {
      if (!(error instanceof Away)) throw error;
      later();
      return;
    }
    away = false;
    tries = 0;
    isOneSent = true;
    await showOutbox();
  }
  if (away) await probe();
  if (!away && current?.unsent) saveDraft();
  // what waited counted as held: with it gone, the server may have another
  const isStuck = box.dataset.state === "elsewhere" && isOneSent;
  if (!away && (box.dataset.state === "offline" || isStuck)) next();
}

/** Whether the server is there again, where nothing waits to be sent. */
async function probe() {
  try {
    await call("GET", "/api/v1/me/session");
    away = false;
    tries = 0;
  } catch {
    later();
  }
}

async function send(record) {
  const { ok, json } = await call("POST", "/api/v1/judgments", record.body);
  if (ok && json.id !== record.id) throw new Away("not the server's answer");
  if (!ok) {
    await change([["outbox", { ...record, state: "refused", message: json.message }]]);
    return;
  }
  results.set(record.id, json);
  await change([], [["outbox", record.id], ["drafts", record.comparison_id]]);
  channel.postMessage({ sent: record.comparison_id });
  if (!json.is_repeat) $("#done").textContent = count(1);
  const surplus = json.surplus && !json.is_repeat;
  notice(say(surplus ? "surplus" : "saved"), surplus ? "notice" : "good");
  if (json.blocked) await blocked();
}

const count = (more) => Number($("#done").textContent.replace(/\D/g, "")) + more;

async function blocked() {
  const held = await tasks();
  await change([], held.map((task) => ["tasks", task.comparison_id]));
  if (current) leave();
  none("blocked");
}

// --- comparisons ---------------------------------------------------------------------------------

/** What is on the page: the comparison, its forms, its judgment's id, what is counted of it. */
let current = null;

/** Ask for one more comparison; the task, null where there is none, or a reason in words. */
async function claim() {
  return alone("claim", async () => {
    const here = await kept();
    const waiting = here.outbox.filter((record) => record.project_id === setup.project_id);
    const held = [...here.tasks, ...waiting].map((one) => one.comparison_id);
    if (current) held.push(current.task.comparison_id);
    const path = `/api/v1/projects/${setup.project_id}/claim`;
    const { ok, json } = await call("POST", path, { have: [...new Set(held)].slice(-200) });
    if (!ok) return { reason: null, message: json.message };
    if (!json.assignment) return { reason: json.reason };
    const task = received(json.assignment);
    await change([["tasks", task]]);
    return { task };
  });
}

function received(assignment) {
  const { html, ...rest } = assignment;
  const keep = [
    "comparison_id", "project_id", "kind", "rubric_id", "step_mode", "shown", "lease_until",
    "draft", "draft_revision", "active_ms", "feedback",
  ];
  const task = Object.fromEntries(keep.map((key) => [key, rest[key]]));
  return { ...task, html, skew: rest.now - Date.now(), got: Date.now() };
}

let topping = false;

/** Fetch ahead, up to as many as the project lets a page hold. */
async function topUp() {
  if (topping || setup.prefetch < 2) return;
  topping = true;
  try {
    for (let i = 0; i < setup.prefetch; i++) {
      const here = await kept();
      if (here.tasks.length + here.outbox.length >= setup.prefetch) break;
      const { task } = await claim();
      if (!task) break;
    }
  } catch (error) {
    if (!(error instanceof Away)) throw error;
  } finally {
    topping = false;
  }
}

let coming = null;

/** Show the next comparison, once for all who ask at a time: two would show one over the other. */
function next() {
  coming ??= bring().finally(() => (coming = null));
  return coming;
}

/** Show a comparison that is here, or else one from the server. */
async function bring() {
  leave();
  if (await showHeld()) return;
  await flush(); // what waits to be sent is still held, and may be all that a page may hold
  let found;
  try {
    found = await claim();
  } catch (error) {
    if (!(error instanceof Away)) throw error;
    later();
    if (!current) none("offline");
    await showOutbox();
    return;
  }
  if (found.message) notice(found.message, "problem");
  // also where the claim gave none: another one under way may have taken the last
  if (await showHeld()) return;
  if (found.task) none("elsewhere");
  else none(found.reason ?? (found.message ? "none-left" : "elsewhere"));
}

/** Show a comparison that is here and in no other tab; whether one stands on the page. */
async function showHeld() {
  const here = await kept();
  const sent = new Set(here.outbox.map((record) => record.comparison_id));
  for (const task of here.tasks) {
    if (sent.has(task.comparison_id)) {
      await change([], [["tasks", task.comparison_id]]);
      continue;
    }
    const free = await taken(task.comparison_id);
    if (!free) continue;
    if (!(await stillOurs(task))) {
      free();
      continue;
    }
    // undone meanwhile: that one stands there, and this one is next
    if (current) free();
    else show(task, free);
    topUp();
    return true;
  }
  return Boolean(current);
}

/** Whether a comparison fetched some time ago may still be answered; its lease is renewed. */
async function stillOurs(task) {
  const left = task.lease_until - (Date.now() + task.skew);
  if (left > (setup.lease_minutes * 60_000) / 2) return true;
  try {
    const { ok, json } = await call("POST", `/api/v1/comparisons/${task.comparison_id}/lease`);
    if (ok && json.lease_until) {
      task.lease_until = json.lease_until;
      await change([["tasks", task]]);
      return true;
    }
    if (await read("drafts", task.comparison_id)) return true; // begun: it is kept as surplus
    await change([], [["tasks", task.comparison_id]]);
    return false;
  } catch {
    return true;
  }
}

function none(reason) {
  const template = $(`template[data-reason="${reason}"]`) ?? $('template[data-reason="none-left"]');
  box.replaceChildren(template.content.cloneNode(true));
  box.dataset.state = reason;
  $("h2", box)?.focus();
}

function leave() {
  if (!current) return;
  current.free?.();
  clearTimeout(current.timer);
  current = null;
}

/** Put a comparison on the page; where it is there already, take it over. */
function show(task, free, { html = true, fields = null, focus = true } = {}) {
  leave();
  if (html) {
    const template = document.createElement("template");
    template.innerHTML = policy.createHTML(task.html);
    box.replaceChildren(template.content);
  }
  box.dataset.state = "task";
  const form = $("form.task", box);
  current = {
    task, form, free, id: uuid7(), revision: task.draft_revision, active: task.active_ms,
    unsent: false, timer: null, warned: false, lost: false, flagForm: $("form.wrong", box),
  };
  for (const input of $$("input[name=csrf]", box)) input.value = setup.csrf;
  enhance(current);
  const mine = current;
  const restored = fields
    ? Promise.resolve(fill(form, fields))
    : read("drafts", task.comparison_id).then((draft) => {
        if (draft && draft.revision >= task.draft_revision && current === mine) {
          fill(form, draft.fields);
          mine.revision = draft.revision;
          mine.active = Math.max(mine.active, draft.active_ms);
          mine.unsent = !draft.sent;
        }
      });
  restored.then(() => {
    if (current !== mine) return;
    changed(mine);
    box.dataset.ready = task.comparison_id;
  });
  if (focus) $("#question", box)?.focus();
  if (focus) scrollTo({ top: 0 });
}

// --- a form's fields and its answer --------------------------------------------------------------

function fieldsOf(form) {
  const fields = {};
  const leave = ["csrf", "comparison_id", "judgment_id", "rubric_id", "shown", "last", "action"];
  for (const [name, value] of new FormData(form)) {
    if (leave.includes(name) || value === "") continue;
    (fields[name] ??= []).push(value);
  }
  return fields;
}

function fill(form, fields) {
  for (const input of form.elements) {
    if (!input.name || input.type === "hidden" || input.tagName === "BUTTON") continue;
    const values = fields[input.name] ?? [];
    if (input.type === "radio") {
      input.checked = values.length ? values.includes(input.value) : input.value === "";
    } else if (input.type === "checkbox") input.checked = values.includes(input.value);
    else input.value = values[0] ?? "";
  }
}

const whole = (text) => (/^-?\d{1,9}$/.test(text) ? Number(text) : text);

/** The answer that a form says, as the server's form reader makes it too. */
function answerOf(form, task) {
  const fields = fieldsOf(form);
  const one = (name) => fields[name]?.at(-1);
  const number = (name) => (one(name) === undefined ? null : whole(one(name)));
  const answer = {};
  if (task.kind === "pair") answer.raw = one("raw") ?? null;
  else if (task.kind === "ranking") answer.groups = groupsOf(form);
  else stepsInto(answer, form, task, one, number);
  const accepted = {};
  for (const id of task.shown) if (one(`accept.${id}`)) accepted[id] = one(`accept.${id}`);
  if (Object.keys(accepted).length) answer.acceptability = accepted;
  const dimensions = {};
  for (const name of new Set(Object.keys(fields).filter((key) => key.startsWith("dim.")))) {
    const [, n, id] = name.split(".");
    const title = $(`input[name="${CSS.escape(name)}"]`, form).closest("[data-dimension]");
    const key = title.dataset.dimension;
    if (id === undefined) dimensions[key] = { raw: one(name) };
    else (dimensions[key] ??= { ratings: {} }).ratings[id] = number(name);
  }
  if (Object.keys(dimensions).length) answer.dimensions = dimensions;
  if (fields.reason) answer.reasons = fields.reason;
  if (one("rationale")) answer.rationale = one("rationale");
  return answer;
}

function groupsOf(form) {
  const groups = new Map();
  for (const select of $$("select[name^='rank.']", form)) {
    if (!select.value) continue;
    const rank = Number(select.value);
    if (!groups.has(rank)) groups.set(rank, []);
    groups.get(rank).push(select.name.slice(5));
  }
  return [...groups.keys()].sort((a, b) => a - b).map((rank) => groups.get(rank));
}

function stepsInto(answer, form, task, one, number) {
  const steps = $$(".step", form);
  if (task.step_mode === "first-error") {
    const first = one("first");
    if (first !== undefined) answer.first_error = first === "none" ? null : whole(first);
  } else answer.labels = steps.map((_, i) => number(`step.${i}`));
  const flagged = steps.map((_, i) => one(`flagged.${i}`) !== undefined);
  if (flagged.some(Boolean)) answer.flagged = flagged;
  const others = steps.map((step, i) =>
    $$(".alternatives > li", step).map((_, j) => number(`alt.${i}.${j}`)),
  );
  if (others.flat().some((label) => label !== null)) answer.alternatives = others;
  const chosen = steps.map((_, i) => number(`chosen.${i}`));
  if (chosen.some((pick) => pick !== null)) answer.chosen = chosen;
  const written = {};
  steps.forEach((_, i) => {
    if (one(`written.${i}`)?.trim()) written[i] = one(`written.${i}`);
  });
  if (Object.keys(written).length) answer.written = written;
}

/** Why an answer is not done yet, where the browser's own checks do not see it. */
function missing({ form, task }) {
  const answer = answerOf(form, task);
  if (task.kind === "ranking" && answer.groups.flat().length < 2) return say("rank-two");
  if (answer.labels && answer.labels.every((label) => label === null)) return say("step-one");
  return null;
}

// --- drafts --------------------------------------------------------------------------------------

/** Something was said: keep it on this device and on the server within a second. */
function edited() {
  if (!current) return;
  current.unsent = true;
  changed(current);
  saved("");
  current.timer ??= setTimeout(() => saveDraft(), DRAFT_MS);
}

const saved = (text) => {
  const place = $(".saved", box);
  if (place) place.textContent = text;
};

async function saveDraft({ leaving = false } = {}) {
  const mine = current;
  if (!mine) return;
  clearTimeout(mine.timer);
  mine.timer = null;
  if (!mine.unsent || mine.saving) return;
  mine.unsent = false;
  mine.saving = true;
  const { task, form } = mine;
  const draft = {
    comparison_id: task.comparison_id, fields: fieldsOf(form), revision: ++mine.revision,
    active_ms: Math.round(mine.active), sent: false,
  };
  const answer = answerOf(form, task);
  try {
    await change([["drafts", draft]]);
    const body = { answer, revision: draft.revision, active_ms: draft.active_ms };
    const path = `/api/v1/comparisons/${task.comparison_id}/draft`;
    const { ok, json } = await call("PUT", path, body, leaving ? { keepalive: true } : {});
    if (current !== mine) return;
    if (ok && json.revision > draft.revision) mine.revision = json.revision; // written elsewhere
    if (ok) await change([["drafts", { ...draft, revision: mine.revision, sent: true }]]);
    if (!mine.unsent) saved(say(ok ? "draft-saved" : "draft-here"));
  } catch (error) {
    if (!(error instanceof Away)) throw error;
    mine.unsent = true;
    if (current === mine) saved(say("draft-here"));
    later();
    showOutbox();
  } finally {
    mine.saving = false;
  }
  if (current === mine && mine.unsent && !away) mine.timer ??= setTimeout(() => saveDraft(), DRAFT_MS);
}

// --- what the annotator does ---------------------------------------------------------------------

let busy = false;

/** One thing at a time: a second click on a button does nothing. */
async function once(work) {
  if (busy) return;
  busy = true;
  try {
    await work();
  } finally {
    busy = false;
  }
}

async function submit() {
  const mine = current;
  if (!mine || mine.done) return; // a second click
  const why = missing(mine);
  if (why) {
    notice(why, "problem");
    return;
  }
  mine.done = true;
  quiet();
  const { task, form, id } = mine;
  const record = {
    id, comparison_id: task.comparison_id, project_id: task.project_id, state: "waiting",
    at: Date.now(), task, fields: fieldsOf(form),
    body: {
      id, comparison_id: task.comparison_id, answer: answerOf(form, task), shown: task.shown,
      active_ms: Math.round(mine.active), rubric_id: task.rubric_id,
    },
  };
  try {
    const gone = [["tasks", task.comparison_id], ["drafts", task.comparison_id]];
    await change([["outbox", record]], gone);
  } catch {
    mine.done = false;
    notice(say("no-room"), "problem");
    return;
  }
  if (location.search) history.replaceState(null, "", location.pathname);
  if (task.feedback) {
    await flush();
    const told = results.get(id);
    if (told?.html) {
      leave();
      feedback(told.html);
      return;
    }
  } else flush();
  leave();
  await showOutbox();
  if (box.dataset.state !== "blocked") await next();
}

function feedback(html) {
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html);
  const on = element("button", say("go-on"), { type: "button", className: "main" });
  on.dataset.do = "go-on";
  box.replaceChildren(template.content, on);
  box.dataset.state = "feedback";
  quiet();
  $("h2", box)?.focus();
}

async function skip() {
  if (!current || !setup.allow_skip) return;
  const { comparison_id } = current.task;
  await asked("POST", `/api/v1/comparisons/${comparison_id}/skip`, { reason: "" }, async () => {
    await change([], [["tasks", comparison_id], ["drafts", comparison_id]]);
    notice(say("skipped"));
    leave();
    await next();
  });
}

async function flag() {
  if (!current) return;
  const input = current.flagForm.elements.flag_reason;
  const reason = input.value.trim();
  if (!reason) return input.focus();
  const path = `/api/v1/comparisons/${current.task.comparison_id}/flag`;
  await asked("POST", path, { reason }, () => {
    input.value = "";
    $("details", current.flagForm).open = false;
    notice(say("flagged"), "good");
    $("#question", box).focus();
  });
}

/** The last answer again: from the outbox, where it has not been sent, or from the server. */
async function undo() {
  const unsent = (await outbox()).filter((record) => record.project_id === setup.project_id);
  const last = unsent.filter((record) => record.state === "waiting").at(-1);
  if (last && !flushing) return reopen(last);
  const path = `/api/v1/projects/${setup.project_id}/judgments/mine?limit=1`;
  await asked("GET", path, undefined, async ({ judgments }) => {
    if (!judgments.length) return notice(say("nothing-to-undo"));
    await asked("POST", `/api/v1/judgments/${judgments[0].id}/undo`, undefined, async (found) => {
      $("#done").textContent = count(-1);
      if (!found.assignment) {
        notice(say("gone"));
        return;
      }
      const task = received(found.assignment);
      await change([["tasks", { ...task, got: 0 }]], [["drafts", task.comparison_id]]);
      if (current) await saveDraft();
      leave();
      show(task, await taken(task.comparison_id));
      notice(say("undone"), "good");
    });
  });
}

async function reopen(record) {
  const task = { ...record.task, got: 0 };
  await change([["tasks", task]], [["outbox", record.id]]);
  if (current) await saveDraft();
  leave();
  show(task, await taken(task.comparison_id), { fields: record.fields });
  current.unsent = true;
  await saveDraft();
  await showOutbox();
}

/** Ask for what needs the network; say so where it is away. */
async function asked(method, path, body, done) {
  try {
    const { ok, json } = await call(method, path, body);
    if (ok) await done(json);
    else notice(json.message, "problem");
  } catch (error) {
    if (!(error instanceof Away)) throw error;
    notice(say("needs-network"), "problem");
    later();
    showOutbox();
  }
}

async function extend() {
  const mine = current;
  if (!mine?.task.lease_until) return;
  mine.asked = Date.now();
  try {
    const { ok, json } = await call("POST", `/api/v1/comparisons/${mine.task.comparison_id}/lease`);
    if (current !== mine || !ok) return;
    if (json.lease_until) {
      mine.task.lease_until = json.lease_until;
      mine.warned = false;
      if (await read("tasks", mine.task.comparison_id)) await change([["tasks", mine.task]]);
      countdown();
    } else if (!mine.lost) {
      mine.lost = true;
      mine.task.lease_until = null;
      notice(say("lost"));
    }
  } catch (error) {
    if (!(error instanceof Away)) throw error;
  }
}

function countdown() {
  const place = $(".lease", box);
  if (!place || !current) return;
  const { task } = current;
  const left = task.lease_until ? task.lease_until - (Date.now() + task.skew) : Infinity;
  place.hidden = left > WARN_MS;
  if (left > WARN_MS) return;
  const seconds = Math.max(0, Math.ceil(left / 1000));
  const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  $("span", place).textContent = left > 0 ? say("lease", { time: clock }) : say("lease-over");
  if (!current.warned) {
    current.warned = true;
    announce(say("lease", { time: clock }));
  }
}

// --- time ----------------------------------------------------------------------------------------

let lastActive = Date.now();
let lastTick = performance.now();
let sitting = 0;
let suggested = 0;

function active() {
  lastActive = Date.now();
  const mine = current;
  if (!mine?.task.lease_until) return;
  const left = mine.task.lease_until - (Date.now() + mine.task.skew);
  const half = (setup.lease_minutes * 60_000) / 2;
  const again = Math.min(30_000, half / 2);
  if (left < half && Date.now() - (mine.asked ?? 0) > again) extend();
}

function tick() {
  const now = performance.now();
  const passed = Math.min(now - lastTick, 2000);
  lastTick = now;
  countdown();
  if (document.visibilityState !== "visible" || Date.now() - lastActive > IDLE_MS) return;
  if (current) current.active += passed;
  sitting += passed;
  const pause = setup.pause_after_minutes;
  if (pause && sitting - suggested > pause * 60_000) {
    suggested = sitting;
    notice(say("pause", { n: Math.round(sitting / 60_000) }));
  }
}

// --- the form, made easier -----------------------------------------------------------------------

function enhance({ form, task }) {
  for (const button of $$("button[data-move]", form)) button.hidden = false;
  for (const range of $$("input[type=range]", form)) {
    const number = $(`#${range.dataset.for}`, form);
    range.hidden = false;
    range.addEventListener("input", () => (number.value = range.value));
    number.addEventListener("input", () => (range.value = number.value || 0));
  }
  $("button[value=undo]", form).disabled = false;
  $("[data-do=sync]").hidden = task.kind !== "pair";
  const guidelines = $("#guidelines", box);
  $("[data-do=guidelines]").hidden = !guidelines;
  if (task.kind === "pair") synchronise($$(".response .body", form));
}

/** What follows from the fields: the order in words, what is needed of reasons. */
function changed({ form, task }) {
  const range = $("input[type=range]", form);
  if (range) range.value = $(`#${range.dataset.for}`, form).value || 0;
  if (task.kind === "ranking") showOrder(form);
}

let scrolling = false;

function synchronise(bodies) {
  for (const body of bodies) {
    body.addEventListener("scroll", () => {
      if (scrolling || !box.classList.contains("sync")) return;
      scrolling = true;
      const share = body.scrollTop / Math.max(1, body.scrollHeight - body.clientHeight);
      for (const other of bodies)
        if (other !== body) other.scrollTop = share * (other.scrollHeight - other.clientHeight);
      requestAnimationFrame(() => requestAnimationFrame(() => (scrolling = false)));
    });
  }
}

// --- ranking -------------------------------------------------------------------------------------

const labelOf = (form, id) => $(`select[name="rank.${id}"]`, form).dataset.label;

function setGroups(form, groups) {
  for (const select of $$("select[name^='rank.']", form)) {
    const rank = groups.findIndex((group) => group.includes(select.name.slice(5)));
    select.value = rank < 0 ? "" : String(rank + 1);
  }
  edited();
}

/** Move a response one place; out of a tie it comes to stand alone. */
function move(id, by) {
  const { form } = current;
  const groups = groupsOf(form);
  const at = groups.findIndex((group) => group.includes(id));
  if (at < 0) groups.push([id]);
  else if (groups[at].length > 1) {
    groups[at] = groups[at].filter((other) => other !== id);
    groups.splice(by < 0 ? at : at + 1, 0, [id]);
  } else {
    groups.splice(at, 1);
    groups.splice(Math.max(0, at + by), 0, [id]);
  }
  setGroups(form, groups);
  sayPlace(form, id);
}

function sayPlace(form, id) {
  const groups = groupsOf(form);
  const place = groups.findIndex((group) => group.includes(id));
  const name = labelOf(form, id);
  if (place < 0) announce(say("unranked", { name }));
  else announce(say("place", { name, n: place + 1, of: groups.length }));
}

/** The order as a line of chips, which can be dragged. */
function showOrder(form) {
  const line = $("#order", form);
  const groups = groupsOf(form);
  const ranked = groups.flat();
  const rest = current.task.shown.filter((id) => !ranked.includes(id));
  const parts = [];
  const chip = (id) => {
    const made = element("span", labelOf(form, id), { className: "dragged", draggable: true });
    made.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", id));
    made.addEventListener("dragover", (event) => event.preventDefault());
    made.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      drop(form, event.dataTransfer.getData("text/plain"), id);
    });
    return made;
  };
  groups.forEach((group, place) => {
    if (place) parts.push(" > ");
    group.forEach((id, i) => parts.push(...(i ? [" = ", chip(id)] : [chip(id)])));
  });
  if (rest.length && groups.length) parts.push(" … ", ...rest.flatMap((id) => [chip(id), " "]));
  $("b", line).replaceChildren(...parts);
  line.hidden = !groups.length;
}

/** Put a response in front of another; of one that has no place, at the end. */
function drop(form, id, before) {
  if (!current.task.shown.includes(id) || id === before) return;
  const groups = groupsOf(form)
    .map((group) => group.filter((other) => other !== id))
    .filter((group) => group.length);
  const at = groups.findIndex((group) => group.includes(before));
  groups.splice(at < 0 ? groups.length : at, 0, [id]);
  setGroups(form, groups);
  sayPlace(form, id);
}

// --- keys ----------------------------------------------------------------------------------------

const DEFAULT_KEYS = {
  submit: "Enter", undo: "Backspace", flag: "f", skip: "", save: "Ctrl+s", diff: "d",
  guidelines: "g", help: "?", next: "j", previous: "k", "towards-first": "ArrowLeft",
  "towards-second": "ArrowRight", tie: "t", "both-bad": "b", "first-error": "x",
};
let keys = { on: true, keys: {}, ...setup.keys };
const keyOf = (action) => keys.keys[action] ?? DEFAULT_KEYS[action] ?? "";

/** What a key is called: the letter it prints on a Latin keyboard, wherever it is. */
function named(event) {
  let key = event.key;
  const digit = "٠١٢٣٤٥٦٧٨٩".indexOf(key);
  if (digit >= 0) key = String(digit);
  else if (/^Key[A-Z]$/.test(event.code) && key.length === 1 && key > "\u007f")
    key = event.code.slice(3).toLowerCase();
  else if (/^[A-Z]$/.test(key)) key = key.toLowerCase();
  if (key === " ") key = "Space";
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}${key}`;
}

const isText = (target) =>
  target.matches?.(
    "textarea, select:not([name^='rank.']), [contenteditable], " +
      "input:not([type=radio], [type=checkbox], [type=range])",
  );

function pressed(event) {
  if (event.isComposing || event.keyCode === 229 || event.defaultPrevented) return;
  const target = event.target;
  if ($("dialog[open]")) return;
  const name = named(event);
  if (name === "Ctrl+Enter") return act(event, "submit");
  if (name.startsWith("Ctrl+") && name === keyOf("save")) return act(event, "save");
  if (!keys.on || isText(target) || (event.repeat && !name.startsWith("Arrow"))) return;
  if (target.matches?.("input[type=radio], input[type=range]") && name.startsWith("Arrow")) return;
  if (target.matches?.("button, a, summary") && (name === "Enter" || name === "Space")) return;
  if (target.matches?.("select") && /^(Enter|Space|Arrow.*)$/.test(name)) return;
  if (target.matches?.("input") && name === "Space") return;
  if (/^\d$/.test(name)) return act(event, "digit", Number(name));
  const action = setup.actions.find((one) => keyOf(one) && keyOf(one) === name);
  if (action) act(event, action);
}

const pick = (input) => {
  if (!input) return;
  input.checked = true;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  announce(input.closest("label").querySelector("span").firstChild.textContent.trim());
};

function digit(number) {
  if (!current) return;
  const { form, task } = current;
  if (task.kind === "pair" && $("#raw", form)) {
    if (number === 0) slide(0);
  } else if (task.kind === "pair") pick($(`input[name=raw][data-key="${number}"]`, form));
  else if (task.kind === "ranking") rankHere(number);
  else if (task.step_mode === "first-error")
    pick($(`input[name=first][data-key="${number}"]`, form));
  else {
    const steps = $$(".step", form);
    const at = Math.max(0, steps.indexOf(here()));
    pick($(`input[data-key="${number}"]`, steps[at]));
    if (number < 4) focusItem(steps[Math.min(at + 1, steps.length - 1)]);
  }
}

function rankHere(number) {
  const { form } = current;
  const item = here() ?? $(".response", form);
  const select = $("select", item);
  const value = number ? String(number) : "";
  if (![...select.options].some((option) => option.value === value)) return;
  select.value = value;
  edited();
  sayPlace(form, item.dataset.item);
  if (!here()) focusItem(item);
}

const here = () => document.activeElement?.closest?.("[data-item]") ?? null;

function focusItem(item) {
  const wanted =
    $("input[type=radio]:checked", item) ?? $("select, input[type=radio], .body", item) ?? item;
  wanted.focus();
  item.scrollIntoView({ block: "nearest" });
}

function step(by) {
  const items = $$("[data-item]", box);
  if (!items.length) return;
  const at = items.indexOf(here());
  focusItem(items[at < 0 ? 0 : Math.min(items.length - 1, Math.max(0, at + by))]);
}

function slide(to) {
  const number = $("#raw", current.form);
  number.value = Math.max(Number(number.min), Math.min(Number(number.max), to));
  number.dispatchEvent(new Event("input", { bubbles: true }));
  announce(number.value);
}

/** One grade towards the first response (-1) or the second (1). */
function lean(by) {
  if (!current || current.task.kind !== "pair") return;
  const { form } = current;
  if ($("#raw", form)) return slide(Number($("#raw", form).value || 0) + 5 * by);
  const points = $$("input[name=raw]", form).filter((input) => input.value !== "both-bad");
  const at = points.findIndex((input) => input.checked);
  const middle = (points.length - 1) / 2;
  const to = at < 0 ? (by < 0 ? Math.ceil(middle) - 1 : Math.floor(middle) + 1) : at + by;
  pick(points[Math.max(0, Math.min(points.length - 1, to))]);
}

const isMirrored = () => document.documentElement.dir === "rtl";
const toggles = (button, on) => {
  const state = on ?? button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(state));
  return state;
};

const ACTS = {
  submit: () => {
    if (box.dataset.state === "feedback") return ACTS["go-on"]();
    current?.form.requestSubmit($("button[value=submit]", current.form));
  },
  undo: () => once(undo),
  skip: () => once(skip),
  flag: () => {
    if (!current) return;
    $("details", current.flagForm).open = true;
    current.flagForm.elements.flag_reason.focus();
  },
  save: () => {
    if (!current) return;
    current.unsent = true;
    saveDraft();
  },
  diff: () => {
    const button = $("[data-do=diff]");
    if (button) box.classList.toggle("diff", toggles(button));
  },
  sync: () => {
    box.classList.toggle("sync", toggles($("[data-do=sync]")));
  },
  guidelines: () => {
    const place = $("#guidelines");
    if (!place) return;
    place.open = !place.open;
    if (place.open) $("summary", place).focus();
  },
  help: () => showHelp(),
  next: () => step(1),
  previous: () => step(-1),
  "towards-first": () => lean(isMirrored() ? 1 : -1),
  "towards-second": () => lean(isMirrored() ? -1 : 1),
  tie: () => {
    if (!current) return;
    if ($("#raw", current.form)) slide(0);
    else pick($("input[name=raw][value=tie]", current.form));
  },
  "both-bad": () => current && pick($("input[name=raw][value=both-bad]", current.form)),
  "first-error": () => {
    const item = here();
    if (item) pick($("input[name=first]", item));
  },
  extend: () => extend(),
  "go-on": () => once(next),
  digit,
};

function act(event, action, value) {
  event.preventDefault();
  ACTS[action]?.(value);
}

// --- choosing keys -------------------------------------------------------------------------------

const help = $("#help");

function showHelp() {
  const form = $("form", help);
  form.elements.on.checked = keys.on;
  for (const action of setup.actions) form.elements[`key.${action}`].value = keyOf(action);
  $(".problem", form).hidden = true;
  help.showModal();
}

function helpKey(event) {
  if (!event.target.name?.startsWith("key.") || event.key === "Tab" || event.key === "Escape") return;
  if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
  event.preventDefault();
  event.target.value = event.key === "Delete" ? "" : named(event);
}

async function saveKeys(event) {
  event.preventDefault();
  const form = $("form", help);
  const chosen = {};
  for (const action of setup.actions) chosen[action] = form.elements[`key.${action}`].value;
  const problem = $(".problem", form);
  let said = say("needs-network");
  try {
    const body = { on: form.elements.on.checked, keys: chosen };
    const { ok, json } = await call("PUT", "/api/v1/me/keys", body);
    if (ok) {
      keys = json;
      showKeys();
      help.close();
      return;
    }
    said = json.message;
  } catch (error) {
    if (!(error instanceof Away)) throw error;
  }
  problem.textContent = said;
  problem.hidden = false;
}

const showKeys = () => document.documentElement.classList.toggle("keys-on", keys.on);

// --- start ---------------------------------------------------------------------------------------

function listen() {
  document.addEventListener("keydown", pressed);
  document.addEventListener("input", (event) => {
    active();
    if (event.target.form === current?.form) edited();
  });
  document.addEventListener("change", (event) => {
    if (event.target.form === current?.form) edited();
    if (event.target.name?.startsWith("rank.") && current) {
      sayPlace(current.form, event.target.name.slice(5));
    }
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const action = event.submitter?.value ?? "submit";
    if (form === current?.form) {
      event.preventDefault();
      if (action === "submit") submit();
      else once({ skip, undo }[action]);
    } else if (form === current?.flagForm) {
      event.preventDefault();
      once(flag);
    } else if (event.submitter?.dataset.undo !== undefined) {
      event.preventDefault();
      once(undo);
    }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button[data-do], button[data-move]");
    if (!button) return;
    if (button.dataset.do) ACTS[button.dataset.do]?.();
    else move(button.closest("[data-item]").dataset.item, Number(button.dataset.move));
  });
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "scroll", "touchstart"])
    document.addEventListener(kind, active, { passive: true, capture: true });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") saveDraft({ leaving: true });
    else flush();
  });
  addEventListener("pagehide", () => saveDraft({ leaving: true }));
  addEventListener("online", () => {
    tries = 0;
    flush();
  });
  addEventListener("offline", () => showOutbox());
  channel.onmessage = ({ data }) => {
    showOutbox();
    if (data.sent && data.sent === current?.task.comparison_id) {
      notice(say("answered-elsewhere"));
      next();
    }
  };
  help.addEventListener("keydown", helpKey);
  $("form", help).addEventListener("submit", saveKeys);
  $("button[value=cancel]", help).addEventListener("click", () => help.close());
  $("button[value=defaults]", help).addEventListener("click", () => {
    const form = $("form", help);
    for (const action of setup.actions) form.elements[`key.${action}`].value = DEFAULT_KEYS[action];
  });
  setInterval(tick, 1000);
}

/** Take over the comparison that the server put on the page, unless it is answered or elsewhere. */
async function begin() {
  try {
    database = await opened();
  } catch {
    notice(say("no-storage"), "problem");
  }
  listen();
  showKeys();
  $("#tools").hidden = false;
  const form = $("form.task", box);
  if (form) {
    const state = JSON.parse(form.dataset.task);
    const html = $(".taskbox", box).outerHTML;
    const task = received({ ...state, html });
    const asked = new URLSearchParams(location.search).has("comparison");
    const sent = (await outbox()).some((record) => record.comparison_id === task.comparison_id);
    const free = sent && !asked ? null : await taken(task.comparison_id);
    if (free || asked) {
      if (task.lease_until) await change([["tasks", task]]);
      show(task, free, { html: false, focus: false });
      topUp();
    } else await next();
  } else if ((await tasks()).length) await next();
  await flush();
}

begin();
