// What makes the pages of background work more convenient; all of them work without it.
"use strict";

// -- commands to copy: what stands between backticks in a sentence --

function showCommands(root) {
  for (const sentence of root.querySelectorAll(".lg-sentence")) {
    const parts = sentence.textContent.split("`");
    if (parts.length < 3 || sentence.children.length) continue;
    const copy = sentence.closest("[data-lg-copy]")?.dataset.lgCopy;
    sentence.replaceChildren(...parts.map((part, place) => (place % 2 ? commandOf(part, copy) : part)));
  }
}

function commandOf(text, copy) {
  const command = document.createElement("code");
  command.className = "lg-command";
  command.textContent = text;
  if (!navigator.clipboard || !copy) return command;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "lg-copy";
  button.textContent = copy;
  button.setAttribute("aria-label", `${copy}: ${text}`);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "✓";
  });
  command.append(button);
  return command;
}

showCommands(document);

// -- overview --

// -- messages --

// Django takes any other change in a list for an edit, and warns that it will be lost.
document.addEventListener("change", (event) => {
  if (event.target.matches(".lg-unfold")) event.stopPropagation();
}, true);

// -- failures and operations --

// A part of a page with data-lg-refresh="5" is fetched again every 5 seconds; parts that follow it, too.
function keepFresh(id, seconds) {
  const controls = document.querySelector(`[data-lg-refreshes="${id}"]`);
  const button = controls?.querySelector("button");
  let isOn = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let timer;

  function wait() {
    window.clearTimeout(timer);
    if (isOn && !document.hidden) timer = window.setTimeout(refresh, seconds * 1000);
  }

  async function refresh() {
    const answer = await fetch(window.location.href, { cache: "no-store" }).catch(() => null);
    if (!isOn) return;
    // Another page, such as the login: this one is not there any more.
    if (answer?.redirected) return end();
    if (answer?.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll(`#${id}, [data-lg-follows="${id}"]`)) replace(part, page);
      if (!document.getElementById(id).dataset.lgRefresh) return end();
    }
    wait();
  }

  function end() {
    isOn = false;
    if (button) button.hidden = true;
  }

  function show() {
    if (button) button.textContent = isOn ? button.dataset.lgOn : button.dataset.lgOff;
  }

  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      isOn = !isOn;
      show();
      if (isOn) refresh();
      else wait();
    });
  }
  document.addEventListener("visibilitychange", () => {
    if (isOn && !document.hidden) refresh();
    else wait();
  });
  show();
  wait();
}

// What somebody uses at this moment stays as it is: a focused control, selected text.
function replace(part, page) {
  const fresh = page.getElementById(part.id);
  const selection = window.getSelection();
  const isSelected = selection && !selection.isCollapsed && part.contains(selection.anchorNode);
  if (!fresh || isSelected || part.contains(document.activeElement)) return;
  const opened = [...part.querySelectorAll("details")].map((one) => one.open);
  const details = [...fresh.querySelectorAll("details")];
  if (details.length === opened.length) details.forEach((one, place) => (one.open = opened[place]));
  part.replaceWith(document.adoptNode(fresh));
  showCommands(fresh);
}

for (const part of document.querySelectorAll("[data-lg-refresh]")) keepFresh(part.id, Number(part.dataset.lgRefresh));

// -- schedules --

// The next runs follow from these fields of a schedule's form.
const PREVIEWED = [
  "type", "schedule", "timezone", "starts_at_0", "starts_at_1", "ends_at_0", "ends_at_1", "except_on", "max_runs",
];

function previewWhileTyping(panel) {
  const form = panel.closest("form");
  const shown = panel.querySelector(".lg-previewed");
  let waiting;
  let asking;

  async function show() {
    asking?.abort();
    asking = new AbortController();
    const query = new URLSearchParams({ of: panel.dataset.lgOf });
    for (const name of PREVIEWED) query.set(name, form.elements[name]?.value ?? "");
    try {
      const answer = await fetch(`${panel.dataset.lgPreview}?${query}`, { signal: asking.signal });
      // Whoever is logged out meanwhile is led to another page, which is no preview.
      if (answer.ok && !answer.redirected) shown.innerHTML = await answer.text();
    } catch {
      // A later question has taken its place, or the server is away: what is shown stays.
    }
  }

  function ask(event) {
    if (!PREVIEWED.includes(event.target.name)) return;
    clearTimeout(waiting);
    waiting = setTimeout(show, 250);
  }

  form.addEventListener("input", ask);
  form.addEventListener("change", ask);
  panel.querySelector("[name=_preview]").hidden = true;
}

function offerPresets(presets) {
  const field = presets.parentElement.querySelector("input[list]");
  presets.hidden = false;
  presets.addEventListener("click", (event) => {
    if (!event.target.matches(".lg-preset")) return;
    field.value = event.target.value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

document.querySelectorAll(".lg-preview").forEach(previewWhileTyping);
document.querySelectorAll(".lg-presets").forEach(offerPresets);
