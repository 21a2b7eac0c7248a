// The console's one script. Every page is whole without it; it adds the toggle, keys, true ages, fresh rows, and buttons.
"use strict";

const root = document.documentElement;
const kept = {
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* without a memory it works as well */ } },
};
// Before anything is drawn, so that nothing flashes.
if (kept.get("theme")) root.dataset.theme = kept.get("theme");

function toggleTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  kept.set("theme", root.dataset.theme);
}

// As the server writes ages (words.rs).
function age(seconds) {
  const s = Math.abs(seconds), tell = (text) => (seconds < 0 ? `in ${text}` : `${text} ago`);
  if (s < 1) return "now";
  if (s < 60) return tell(`${Math.floor(s)} s`);
  if (s < 3600) return tell(`${Math.floor(s / 60)} min`);
  if (s < 86400) return tell(`${Math.floor(s / 3600)} h`);
  const days = Math.floor(s / 86400);
  return tell(days === 1 ? "1 day" : `${days} days`);
}
function tellAges() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    const text = age((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

// Fresh regions: the same page is fetched again and what has changed is put in its place.
let fetching = false, again = false, gone = false;
const lives = () => !gone && document.querySelector("[data-live]") && !document.querySelector("[data-still]");
async function refresh() {
  if (document.hidden || !lives()) return;
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    // Logged out meanwhile: the log-in page came instead.
    if (answer.redirected && new URL(answer.url).pathname === "/login") { location.href = answer.url; return; }
    // What it was about is over; somebody may still want to read it.
    gone = answer.status === 404;
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const proof = page.querySelector('meta[name="csrf"]');
    if (proof) document.querySelector('meta[name="csrf"]')?.setAttribute("content", proof.content);
    for (const region of document.querySelectorAll("[data-live]")) renew(region, page);
    mark("on", page);
    tellAges();
  } catch { mark("off"); }
  fetching = false;
  if (again) { again = false; refresh(); }
}
const plain = (region) => region.innerHTML.replace(/<time[^>]*>[^<]*<\/time>/g, "").replace(/<span class="live[^>]*>[^<]*<\/span>/g, "").replace(/ class="fresh"/g, "");
function renew(region, page) {
  const other = page.querySelector(`[data-live="${CSS.escape(region.dataset.live)}"]`);
  // Nothing is taken away from under somebody's hands.
  const busy = region.querySelector("details[open], form.busy") || region.contains(document.activeElement?.closest("input, textarea, select"));
  if (!other || busy || plain(other) === plain(region)) return;
  const known = new Set([...region.querySelectorAll("[data-key]")].map((row) => row.dataset.key));
  const focused = region.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const told = [...region.querySelectorAll("[data-said]")].map((place) => [place.className, place.textContent]);
  region.replaceChildren(...other.childNodes);
  region.querySelectorAll("[data-said]").forEach((place, at) => { if (told[at]) [place.className, place.textContent] = told[at]; });
  for (const row of region.querySelectorAll("[data-key]")) if (known.size && !known.has(row.dataset.key)) row.classList.add("fresh");
  if (focused) region.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
function mark(state, page) {
  const here = document.querySelector("[data-live-mark]"), there = page?.querySelector("[data-live-mark]");
  if (!here) return;
  here.classList.toggle("on", state === "on");
  here.classList.toggle("off", state === "off");
  here.textContent = state === "off" ? "Syncline does not answer; trying again" : there ? there.textContent.replace("as of", "live,") : here.textContent;
}

// As soon as something is decided, but no more than once a second; while the page is looked at, so that a browser with many
// of them open still has connections for the others.
let source = null, due = 0;
function soon() {
  if (due) return;
  due = setTimeout(() => { due = 0; refresh(); }, 1000);
}
function listen() {
  if (document.hidden) { source?.close(); source = null; return; }
  refresh();
  if (source || !lives()) return;
  source = new EventSource("/v1/events?limit=1");
  source.addEventListener("decision", soon);
}

// Buttons: a form with data-act is posted as JSON to the routes every other client uses.
const counted = (counts) => ["creates", "updates", "deletes"].filter((name) => counts?.[name]).map((name) => `${counts[name]} ${name}`).join(", ") || "nothing";
async function post(path, body, headers) {
  const proof = document.querySelector('meta[name="csrf"]')?.content || "";
  const sent = { "content-type": "application/json", "x-csrf-token": proof, ...headers };
  const answer = await fetch(path, { method: "POST", headers: sent, body: JSON.stringify(body) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.detail || `the server answered ${answer.status}`);
  return said;
}
function bodyOf(form, verb) {
  const body = JSON.parse(form.dataset.body || "{}");
  const ticked = [...form.querySelectorAll("input[type=checkbox]")];
  if (ticked.length) body[ticked[0].name] = ticked.filter((box) => box.checked).map((box) => box.value);
  for (const field of form.querySelectorAll("[name]:not([type=checkbox])")) {
    const takes = !verb || field.name === "by" || (field.name === "reason" && verb !== "retry") || verb === "approve" || verb === "requeue";
    if (!takes || !field.value.trim()) continue;
    // It is sent as it is written: a number read here could be another one afterwards.
    if (field.matches("[data-json]") && field.value !== field.defaultValue) JSON.parse(field.value);
    if (field.matches("[data-text], [data-json]")) { if (field.value !== field.defaultValue) body[field.name] = field.value; }
    else body[field.name] = field.value.trim();
  }
  return body;
}
// What would follow, as lines.
function lines(would) {
  const told = { sends: "It would send", released: "Goes on", discarded: "Is not done", waiting: "Kept back by now" };
  const counts = Object.entries(told).filter(([name]) => would[name]).map(([name, text]) => `${text}: ${counted(would[name])}.`);
  const rows = [would.decision, ...(would.decisions || [])].filter((row) => row?.decision);
  return counts.concat(rows.flatMap((row) => {
    const fields = (row.modified_fields || []).concat(row.changed || []).filter((name, at, all) => all.indexOf(name) === at);
    return [`${row.decision.replace("_", " ")}: ${row.reason}`]
      .concat(fields.length ? [`Fields: ${fields.join(", ")}.`] : [], row.notified?.length ? [`Sent on to ${row.notified.join(", ")}.`] : []);
  }));
}
function sure(text, would) {
  const dialog = document.getElementById("ask");
  dialog.querySelector("h2").textContent = text;
  dialog.querySelector("ul").replaceChildren(...would.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
async function act(form, button) {
  const place = form.querySelector("[data-said]") || form.closest("footer")?.querySelector("[data-said]") || document.querySelector("main > [data-said]");
  const say = (tone, text) => { if (place) { place.className = `said ${tone}`; place.textContent = text; } };
  const path = form.dataset.act + (form.dataset.act.endsWith("/") ? button?.value || "" : "");
  const headers = form.dataset.match ? { "if-match": `"${form.dataset.match}"` } : {};
  let body;
  try { body = bodyOf(form, button?.value); } catch (error) { say("dead", `This is no JSON: ${error.message}`); return; }
  form.classList.add("busy");
  for (const one of form.querySelectorAll("button")) one.disabled = true;
  try {
    const ask = button?.dataset.ask || form.dataset.ask;
    const would = form.matches("[data-dry]") ? lines(await post(path, { ...body, dry_run: true }, headers)) : [];
    if (ask && !await sure(ask, would)) return;
    const said = await post(path, body, headers);
    const row = said.decision;
    say("ok", row?.decision ? `${row.decision}: ${row.reason}` : "Done.");
    if (form.dataset.then) location.href = form.dataset.then;
  } catch (error) { say("dead", error.message); }
  finally {
    form.classList.remove("busy");
    for (const one of form.querySelectorAll("button")) one.disabled = false;
    if (!form.dataset.then) refresh();
  }
}

// Keys.
const places = { o: "/", d: "/decisions", r: "/records", w: "/waiting", l: "/dead-letters", s: "/systems" };
let pending = 0;
function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")].map((row) => (row.matches("a") ? row : row.querySelector("a"))).filter(Boolean);
  const at = rows.indexOf(document.activeElement);
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, textarea, select")) { if (event.key === "Escape") event.target.blur(); return; }
  const waited = Date.now() - pending < 1200;
  pending = 0;
  if (waited && places[event.key]) { location.href = places[event.key]; return; }
  const does = {
    "/": () => document.getElementById("find")?.focus(), j: () => step(1), k: () => step(-1), t: toggleTheme,
    "?": () => document.getElementById("keys")?.showModal(), g: () => { pending = Date.now(); },
  }[event.key];
  if (does) { event.preventDefault(); does(); }
}

document.addEventListener("DOMContentLoaded", () => {
  document.addEventListener("keydown", pressed);
  document.querySelector("[data-theme-toggle]")?.addEventListener("click", toggleTheme);
  document.querySelector("[data-help]")?.addEventListener("click", (event) => { event.preventDefault(); document.getElementById("keys").showModal(); });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("[data-act]")) return;
    event.preventDefault();
    act(event.target, event.submitter);
  });
  for (const field of document.querySelectorAll("[data-name]")) {
    field.value ||= kept.get("name") || "";
    field.addEventListener("change", () => kept.set("name", field.value));
  }
  tellAges();
  setInterval(tellAges, 5000);
  setInterval(refresh, 10000);
  document.addEventListener("visibilitychange", listen);
  listen();
});
