/** What `model-check` checks: the model of the handover with several bounds, and variants that must fail. */

/** Properties, by the names that the model's assertions have in their comments. */
export const properties = {
  P1: "never two QEMUs run the VM",
  P2: "a restartable copy of the newest state always exists, and no state is ended that is not kept elsewhere",
  P3: "every run ends, and where it ends the VM runs or an operator can let it run",
  P4: "epochs never go back, only an owner's VM runs, COMMIT is not sent while QEMU's return path is open",
  P5: "some site is always responsible, and claims never stop the owner",
};

/**
 * Bounds are macros of handover.pml. `isWhole`: all of the model's steps must be taken in it. `progress`: other bounds
 * for the search for endless runs, which has twice as many states.
 */
export const configurations = [
  {
    name: "handover",
    about: "agents die, connections are lost, a destination's cont fails",
    bounds: { CRASHES: 2, CUTS: 2, LEGS: 3, EPOCHS: 3 },
    progress: { CUTS: 1, LEGS: 2 },
  },
  {
    name: "QEMU dies",
    about: "also each site's QEMU dies",
    bounds: { CRASHES: 2, CUTS: 1, LEGS: 2, EPOCHS: 3, QEMU_CRASHES: 1 },
    progress: { CRASHES: 1, CUTS: 0 },
    isWhole: true,
  },
  {
    name: "claims, one leg",
    about: "also agents tell each other what they own",
    bounds: { CRASHES: 1, CUTS: 2, LEGS: 1, EPOCHS: 3, CLAIMS: 1 },
    progress: { CUTS: 1 },
  },
  {
    name: "claims, two legs",
    about: "the same",
    bounds: { CRASHES: 1, CUTS: 0, LEGS: 2, EPOCHS: 3, CLAIMS: 1 },
  },
  {
    name: "lost site, first leg",
    about: "one site is lost for ever, an operator forces the other one",
    bounds: { CRASHES: 2, CUTS: 2, LEGS: 2, EPOCHS: 3, LOSSES: 1 },
    progress: { CRASHES: 1 },
  },
  {
    name: "lost site, later leg",
    about: "the same, when both have a generation",
    bounds: { CRASHES: 2, CUTS: 2, LEGS: 2, EPOCHS: 3, LOSSES: 1, AFTER_A_LEG: 1 },
    progress: { CRASHES: 1 },
    isWhole: true,
  },
  {
    name: "forced unfenced",
    about: "an operator forces sites though the other one lives",
    bounds: { CRASHES: 1, CUTS: 0, LEGS: 1, EPOCHS: 3, FORCES: 2, AFTER_A_LEG: 1 },
    progress: { FORCES: 1 },
    isWhole: true,
  },
];

/** Small enough for a test. */
export const quickConfigurations = [
  {
    name: "quick",
    about: "as handover, with small bounds",
    bounds: { CRASHES: 1, CUTS: 1, LEGS: 2, EPOCHS: 3 },
  },
];

const small = { CRASHES: 1, CUTS: 1, LEGS: 2, EPOCHS: 3 };
const smallForced = { CRASHES: 1, CUTS: 0, LEGS: 1, EPOCHS: 3, FORCES: 1, AFTER_A_LEG: 1 };

/** Sabotaged variants. `finds`: a property that the check must find violated. */
export const mutants = [
  {
    macro: "RELEASED_BEFORE_SHUT",
    about: "COMMIT while QEMU's return path is open",
    bounds: small,
    finds: ["P1", "P4"],
  },
  {
    macro: "COMMIT_BEFORE_RELEASED",
    about: "COMMIT before RELEASED is durable",
    bounds: small,
    finds: ["P1", "P4"],
  },
  {
    macro: "TAKES_BACK_ON_TIMEOUT",
    about: "the source takes the VM back without settling",
    bounds: small,
    finds: ["P1"],
  },
  { macro: "RUNS_BEFORE_OWNED", about: "cont before OWNED is durable", bounds: small, finds: ["P1", "P4"] },
  { macro: "REFUSES_WITHOUT_RECORD", about: "a refusal is told, not recorded", bounds: small, finds: ["P1"] },
  {
    macro: "ANSWERS_BEFORE_CONT",
    about: "'owned' is answered while cont may still fail",
    bounds: small,
    finds: ["P5"],
  },
  {
    macro: "GIVES_BACK_WITH_ITS_COPY",
    about: "a destination that gives back removes its generation",
    bounds: { ...small, QEMU_CRASHES: 1 },
    finds: ["P2"],
  },
  { macro: "ASKS_ONCE", about: "a source in doubt asks once", bounds: small, finds: ["P3"] },
  {
    macro: "LOOKS_ONCE",
    about: "an agent that starts looks at QEMU once, amid its switchover",
    bounds: small,
    finds: ["P3"],
  },
  {
    macro: "RECONNECTS_FOR_EVER",
    about: "a leg that the peer has lost is resumed again and again",
    bounds: small,
    finds: ["P3"],
  },
  {
    macro: "STARTS_WHAT_ARRIVED",
    about: "a VM of another site may be started after a crash",
    bounds: small,
    finds: ["P1"],
  },
  { macro: "IGNORES_CLAIMS", about: "a superseded site runs on", bounds: smallForced, finds: ["P1"] },
  {
    macro: "CLAIMS_ONLY_ON_CONNECTION",
    about: "a site that takes its VM back does not say so",
    bounds: smallForced,
    finds: ["P1"],
  },
  {
    macro: "FORGETS_BRANCH",
    about: "an agent that starts ends a superseded VM that is not yet kept",
    bounds: smallForced,
    finds: ["P2"],
  },
  {
    macro: "SETTLES_WITHOUT_BRANCH",
    about: "a source in doubt ends its VM though the peer runs an older one",
    bounds: smallForced,
    finds: ["P2"],
  },
];

/** Of those, what a test runs. */
export const quickMutants = mutants.filter(
  ({ macro }) => macro === "RELEASED_BEFORE_SHUT" || macro === "ASKS_ONCE",
);
