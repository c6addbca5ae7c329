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

// -- failures and operations --

// -- schedules --

// The next runs follow from these fields of a schedule's form.
const PREVIEWED = ["type", "schedule", "timezone", "starts_at_0", "starts_at_1", "ends_at_0", "ends_at_1"];

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
