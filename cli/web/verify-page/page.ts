/** The page: puts its parts together. What is under way is in one place, and every control follows from it. */

import { filesOfInput, onDrop } from "./drop.ts";
import { elementOf } from "./element.ts";
import { FindingsList } from "./findings-list.ts";
import { outcomeCards } from "./generation-cards.ts";
import type { PathFile } from "./group-files.ts";
import { type Headline, headlineOf } from "./headline.ts";
import type { Outcome, PageMessage, WorkerMessage } from "./messages.ts";
import { ProgressView } from "./progress-view.ts";
import { Selection } from "./selection.ts";

type State = "choosing" | "verifying" | "cancelling" | "broken";

const selection = new Selection();
const findings = new FindingsList();
const progress = new ProgressView();
const dropZone = elementOf("drop-zone", HTMLElement);
const verifyButton = elementOf("verify", HTMLButtonElement);
const cancelButton = elementOf("cancel", HTMLButtonElement);
const clearButton = elementOf("clear", HTMLButtonElement);
const hint = elementOf("hint", HTMLElement);
const headline = elementOf("headline", HTMLElement);
const legend = elementOf("legend", HTMLElement);
const cards = elementOf("cards", HTMLElement);
const inputs = ["folder-input", "files-input", "key-input"].map((id) => elementOf(id, HTMLInputElement));
const quick = elementOf("quick", HTMLInputElement);
const keyField = elementOf("key", HTMLTextAreaElement);

let state: State = "choosing";

// Made at once: after it was loaded the page asks its server for nothing more.
const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
worker.addEventListener("message", ({ data }: MessageEvent<WorkerMessage>) => hear(data));
worker.addEventListener("error", () => {
  enter("broken");
  say("Reload the page: its worker cannot run here", "bad");
});

onDrop(dropZone, (files) => void take(files), refuse);
for (const input of inputs) {
  input.addEventListener("change", () => {
    void take(filesOfInput(input), input.id === "key-input");
    input.value = "";
  });
}
keyField.addEventListener("input", () => {
  selection.showKey();
  enter(state);
});
verifyButton.addEventListener("click", () => {
  showNothing();
  progress.start();
  enter("verifying");
  send({ type: "verify", assignment: selection.assignment() });
  cancelButton.focus();
});
cancelButton.addEventListener("click", () => {
  enter("cancelling");
  send({ type: "cancel" });
});
clearButton.addEventListener("click", () => {
  selection.clear();
  showNothing();
  enter("choosing");
});

elementOf("unavailable", HTMLElement).hidden = true;
elementOf("page", HTMLElement).hidden = false;
selection.showKey();
enter("choosing");

async function take(files: readonly PathFile<File>[], areKeys = false): Promise<void> {
  if (state !== "choosing") return;
  try {
    if (areKeys) await selection.addKeys(files);
    else await selection.add(files);
    // What was found before was found of other files, or with other keys.
    showNothing();
  } catch (error) {
    refuse(error);
  }
  enter(state);
}

function refuse(error: unknown): void {
  say(error instanceof Error ? error.message : String(error), "bad");
}

function hear(message: WorkerMessage): void {
  if (message.type === "progress") {
    if (state === "verifying") progress.show(message.what, message.doneBytes, message.totalBytes);
  } else if (message.type === "findings") findings.add(message.findings);
  else end(message);
}

function end(message: Exclude<WorkerMessage, { type: "progress" | "findings" }>): void {
  progress.stop();
  enter("choosing");
  if (message.type === "done") showOutcome(message.outcome);
  else if (message.type === "cancelled")
    say("Cancelled: what is listed below is all that was found until then", "none");
  else say(message.message, "bad");
  headline.focus();
}

function showOutcome(outcome: Outcome): void {
  const { text, kind } = headlineOf(outcome, findings.count);
  say(text, kind);
  findings.showNotes(outcome.notes);
  cards.replaceChildren(...outcomeCards(outcome));
  legend.hidden = cards.querySelector("canvas") === null;
}

function showNothing(): void {
  findings.clear();
  cards.replaceChildren();
  legend.hidden = true;
  say("", "none");
}

/** The headline is a live region: what it says is read out. */
function say(text: string, kind: Headline["kind"] | "none"): void {
  headline.textContent = text;
  headline.className = kind;
}

function enter(next: State): void {
  state = next;
  const { missing } = selection;
  const isBusy = state !== "choosing";
  verifyButton.disabled = isBusy || missing !== null;
  cancelButton.hidden = state !== "verifying" && state !== "cancelling";
  cancelButton.disabled = state === "cancelling";
  clearButton.disabled = isBusy || selection.isEmpty;
  keyField.readOnly = isBusy;
  for (const input of [...inputs, quick]) input.disabled = isBusy;
  hint.textContent = isBusy ? "" : (missing ?? "");
}

function send(message: PageMessage): void {
  worker.postMessage(message);
}
