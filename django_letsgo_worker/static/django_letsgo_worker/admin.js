// What makes the pages of background work more convenient; all of them work without it.
"use strict";

// -- commands to copy --

function offerToCopy(root) {
  if (!navigator.clipboard) return;
  for (const command of root.querySelectorAll("code.lg-command")) {
    if (command.nextElementSibling?.classList.contains("lg-copy")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "lg-copy";
    button.textContent = document.documentElement.dataset.lgCopy || "copy";
    button.setAttribute("aria-label", `${button.textContent}: ${command.textContent}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command.textContent);
      button.classList.add("lg-copied");
    });
    command.after(button);
  }
}

offerToCopy(document);

// -- overview --

// -- failures and operations --

// -- schedules --
