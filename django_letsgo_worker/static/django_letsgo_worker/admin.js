// What makes the pages of background work more convenient; all of them work without it.
"use strict";

// -- commands to copy: what stands between backticks in a sentence --

function showCommands(root) {
  for (const sentence of root.querySelectorAll(".lg-sentence")) {
    const parts = sentence.textContent.split("`");
    if (parts.length < 3 || sentence.children.length) continue;
    sentence.replaceChildren(...parts.map((part, place) => (place % 2 ? commandOf(part) : part)));
  }
}

function commandOf(text) {
  const command = document.createElement("code");
  command.className = "lg-command";
  command.textContent = text;
  if (!navigator.clipboard) return command;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "lg-copy";
  button.textContent = "⧉";
  button.setAttribute("aria-label", text);
  button.title = text;
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
