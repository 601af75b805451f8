/** State machines of the handover: named states, one table of what may follow what. */

/** For each state, the states that may follow it. */
export type TransitionTable<State extends string> = Readonly<Record<State, readonly State[]>>;

/** Where a source is in a leg. */
export type SourceState =
  | "negotiating"
  | "rounds"
  | "stopped"
  | "finishing"
  | "completing"
  | "released"
  | "in-doubt"
  | "handed-over"
  | "taken-back"
  | "aborted";

/**
 * Source. Until `released` is durable the VM may always run on here; after it only the other site's answer,
 * or an operator, decides.
 */
export const sourceTransitions: TransitionTable<SourceState> = {
  /** The peer says what it has; QEMU is told to migrate. */
  negotiating: ["rounds", "aborted"],
  /** The VM runs; changes are sent. */
  rounds: ["stopped", "aborted"],
  /** QEMU stopped the VM; the rest is read and sent. */
  stopped: ["finishing", "aborted"],
  /** Everything is sent; the peer loads it and answers with its root. */
  finishing: ["completing", "aborted"],
  /** Roots are equal; QEMU is told so and goes to postmigrate. */
  completing: ["released", "aborted"],
  /** RELEASED is durable, COMMIT may have been sent. */
  released: ["handed-over", "in-doubt"],
  /** The peer did not answer. */
  "in-doubt": ["handed-over", "taken-back"],
  "handed-over": [],
  "taken-back": [],
  aborted: [],
};

/** Where the source of a checkpoint, or of a seed, is. */
export type KeepState =
  | "negotiating"
  | "rounds"
  | "stopped"
  | "runs-on"
  | "finishing"
  | "keeping"
  | "kept"
  | "aborted";

/** A checkpoint or a seed at the source. The VM stays here whatever happens: nothing of it is in doubt. */
export const keepTransitions: TransitionTable<KeepState> = {
  negotiating: ["rounds", "aborted"],
  /** The VM runs. A seed is read in one pass, and has no stop. */
  rounds: ["stopped", "finishing", "aborted"],
  /** QEMU stopped the VM; its disks are frozen, the rest of its memory is read. */
  stopped: ["runs-on", "aborted"],
  /** The VM runs again; what was read of the state is sent. */
  "runs-on": ["finishing", "aborted"],
  /** Everything is sent; the peer answers with its root. */
  finishing: ["keeping", "aborted"],
  /** Roots are equal; each side puts its copy in force. */
  keeping: ["kept", "aborted"],
  kept: [],
  aborted: [],
};

/** Where a destination is in a leg. */
export type DestinationState =
  | "offered"
  | "receiving"
  | "loading"
  | "prepared"
  | "owned"
  | "running"
  | "returned"
  | "discarded";

/** Destination. The VM never runs before `owned` is durable. */
export const destinationTransitions: TransitionTable<DestinationState> = {
  offered: ["receiving", "discarded"],
  receiving: ["loading", "discarded"],
  /** All is here; QEMU loads the device state, files are synced. */
  loading: ["prepared", "discarded"],
  /** The root was sent; only COMMIT leads on. */
  prepared: ["owned", "discarded"],
  /** OWNED is durable. */
  owned: ["running", "returned"],
  running: [],
  /** `cont` failed: given back, durably. */
  returned: [],
  discarded: [],
};

/** Where the destination of a checkpoint, or of a seed, is. */
export type KeeperState = "offered" | "receiving" | "loading" | "prepared" | "kept" | "discarded";

/** A checkpoint or a seed at the destination: no QEMU, and nothing of the ownership changes. */
export const keeperTransitions: TransitionTable<KeeperState> = {
  offered: ["receiving", "discarded"],
  receiving: ["loading", "discarded"],
  /** All is here; files are synced. */
  loading: ["prepared", "discarded"],
  /** The root was sent; only KEEP leads on. */
  prepared: ["kept", "discarded"],
  /** The generation is in force. */
  kept: [],
  discarded: [],
};

/** A machine in one of its states. */
export class StateMachine<State extends string> {
  private readonly table: Partial<TransitionTable<State>>;
  private readonly onChange: (state: State) => void;
  private current: State;

  /** `table` has every state that can be reached from `first`. */
  constructor(
    table: Partial<TransitionTable<State>>,
    first: State,
    onChange: (state: State) => void = () => {},
  ) {
    this.table = table;
    this.current = first;
    this.onChange = onChange;
  }

  get state(): State {
    return this.current;
  }

  /** Goes to `next`. Throws Error if the table does not allow it: that is a defect, not a condition. */
  go(next: State): void {
    if (!this.table[this.current]?.includes(next)) {
      throw new Error(`Cannot go from state '${this.current}' to '${next}'`);
    }
    this.current = next;
    this.onChange(next);
  }
}
