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
