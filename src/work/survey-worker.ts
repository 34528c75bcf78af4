import { parentPort } from "node:worker_threads";
import { errnoName, SysError } from "../sys/errors.ts";
import { readOnlySys } from "../sys/read-only.ts";
import type { SysFactory } from "../sys/sys.ts";
import { Ledger } from "../../store/store.ts";
import { RunFailure, Stopped } from "./errors.ts";
import type { FromWorker } from "./messages.ts";
import { Placer } from "./place.ts";
import type { SurveyContext } from "./survey-context.ts";
import { SurveyLedger } from "./survey-ledger.ts";
import type { FromSurvey, SurveySetup } from "./survey-messages.ts";
import { Needs } from "./survey-needs.ts";
import { SurveyRemover } from "./survey-remove.ts";
import { Surveyor } from "./surveyor.ts";
import { Thread } from "./thread.ts";

/** The thread of a survey: one, because what is met first decides; a thread, because signals must be heard meanwhile. */
const port = parentPort;
if (port === null) throw new Error("survey-worker.ts runs in a worker thread only");
const send = (message: FromSurvey): void => {
  port.postMessage(message);
};

port.once("message", (setup: SurveySetup) => {
  void survey(setup);
});

async function survey(setup: SurveySetup): Promise<void> {
  const { openSys } = (await import(setup.thread.sysModule)) as { openSys: SysFactory };
  const pass = (message: FromWorker): void => {
    if (message.type === "failures") context.failures += message.failures.length;
    send(message);
  };
  const thread = new Thread(readOnlySys(openSys()), setup.thread, pass);
  const context: SurveyContext = {
    thread,
    placer: new Placer(thread),
    ledger: new SurveyLedger(Ledger.open(setup.ledgerDirectory)),
    traits: setup.traits,
    needs: new Needs(setup.traits.blockBytes, setup.store),
    remover: new SurveyRemover(thread, { maxDelete: setup.maxDelete, filter: thread.rules.filter }),
    store: setup.store,
    changes: 0,
    failures: 0,
  };
  const { needs, remover } = context;
  const surveyor = new Surveyor(context, setup.roots);
  send({ type: "opened" });
  send(goThrough(surveyor, setup) ?? { type: "ended", needs: needs.counts, held: remover.held });
  await context.ledger.close();
  await thread.session.close();
  port?.close();
}

/** undefined: all units were looked at. */
function goThrough(surveyor: Surveyor, setup: SurveySetup): FromSurvey | undefined {
  try {
    const units = setup.units.map((unit) => ({ ...unit, path: Buffer.from(unit.path) }));
    surveyor.run(units, {
      begun: (unit) => {
        send({ type: "begun", unit });
      },
      unit: (report) => {
        send({ type: "unit", report });
      },
    });
    return undefined;
  } catch (error) {
    if (error instanceof Stopped) return { type: "stopped" };
    if (error instanceof RunFailure) return { type: "fatal", code: error.code, message: error.message };
    if (error instanceof SysError)
      return { type: "fatal", code: errnoName(error.errno), message: error.message };
    throw error;
  }
}
