/* Names, durable records, channels, and what must always hold. */

/* Of a leg: as in cli/leg/state-machine.ts, with _ for -. `idle`: this agent has no leg. */
mtype = {
  idle,
  negotiating, rounds, stopped, finishing, completing, released, in_doubt, handed_over, taken_back, aborted,
  offered, receiving, loading, prepared, owned, running, returned, discarded
};
/* Of the ownership record: `state` in cli/store/ownership.ts. */
mtype = { record_none, record_owned, record_released, record_away };
/*
 * Of a QEMU. stopped: by a migration whose return path is open. shut: SHUT 0 was written to it. post: postmigrate, paused.
 * incoming: waits for a stream. loaded: has taken it, paused. held: paused by an agent that was superseded.
 */
mtype = { qemu_none, qemu_runs, qemu_stopped, qemu_shut, qemu_post, qemu_incoming, qemu_loaded, qemu_held };
/* On the WAN: cli/wan/messages.ts. Frames and `ack` are left out; `abort` is the end of the connection. */
mtype = { m_prepare, m_offer, m_begin, m_finish, m_prepared, m_commit, m_running, m_resume, m_resumed };
/* Answers to `settle`. */
mtype = { said_owned, said_refused };
/* Of a leg's connection, at the side that made it. */
mtype = { conn_none, conn_up, conn_lost };

typedef Site {
  /* Durable. */
  mtype record;
  byte epoch;
  byte refused;           /* refusedEpoch */
  byte kept;              /* epoch of the leg whose complete generation is the newest here; 0: none */
  bit knows;              /* the VM's definition came with a leg */
  bit mustKeep;           /* superseded; the newer state is not yet kept as a branch */
  bit branch;             /* it is */
  bit lost;               /* the site is gone for ever */
  /* Of the agent; gone when it dies. */
  bit up;
  mtype state;
  byte leg;
  byte legEpoch;
  bit attached;           /* the leg that arrives here has a connection */
  bit inForce;            /* its generation has its number, OWNED is not written */
  bit ran;                /* the VM came with `leg` and runs: a `resume` of it is still answered */
  bit asked;              /* `settle` is under way */
  bit claimsDue;          /* there is a new connection, `claims` were not sent on it */
  byte above;             /* superseded by this epoch; the VM is paused */
  bit mustRun;            /* OWNED is durable, `cont` comes next */
  /* Of QEMU, which outlives the agent. */
  mtype qemu;
  bit hasRun;             /* its guest has run since: no generation has that */
  byte holds;             /* epoch of the newest leg for which its VM was stopped, or with which it came */
  /* What is left of the bounds. */
  byte crashes;
  byte qemuCrashes;
};
Site site[2];

/* A site's leg connection: dialler to listener, and back. Fields: type, leg, epoch or progress. */
chan toListener[2] = [CHANNEL] of { mtype, byte, byte };
chan toDialler[2] = [CHANNEL] of { mtype, byte, byte };
/* What an old connection still brings to a site after it was lost, in any order with what a new one brings. */
chan late[2] = [1] of { mtype, byte, byte };
mtype conn[2] = conn_none;
bit resuming[2];

/* Each on a connection of its own. */
chan question[2] = [CHANNEL] of { byte };
chan answer[2] = [1] of { mtype, byte, byte };
chan claims[2] = [1] of { mtype, byte, byte };
chan claimed[2] = [1] of { mtype, byte };

byte legs;
byte cuts;
byte contFailures;
byte losses;
byte forces;
bit qemuCrashed;
/* For the properties: newest leg whose OWNED is durable, and newest one for which the VM was stopped. */
byte committed;
byte stoppedAt;

/* Only within a step. */
hidden mtype m;
hidden mtype r;
hidden byte l;
hidden byte e;
hidden byte p;

#define peer (1 - me)
#define my site[me]

#define isSourceLeg(s) (site[s].state == negotiating || site[s].state == rounds || site[s].state == stopped || \
  site[s].state == finishing || site[s].state == completing || site[s].state == released)
#define isArriving(s) (!site[s].inForce && (site[s].state == offered || site[s].state == receiving || \
  site[s].state == loading || site[s].state == prepared))
/* COMMIT is being carried out: nothing else may change or tell ownership. */
#define isTaking(s) (site[s].inForce || site[s].state == owned)

/* Every change of a leg's state: model.test.ts holds the pairs against the tables of the code. */
#define src_go(from, to) assert(my.state == from); my.state = to
#define dst_go(from, to) assert(my.state == from); my.state = to

/* What is restartable. */
#define holdsState(s, n) (site[s].qemu != qemu_none && site[s].qemu != qemu_incoming && site[s].holds >= n && \
  (site[s].record == record_owned || site[s].record == record_released))
#define isRestartable(n) (site[0].kept >= n || site[1].kept >= n || holdsState(0, n) || holdsState(1, n))
#define mayRun(s) (site[s].record == record_owned || site[s].record == record_released)

#if LOSSES == 0 && FORCES == 0
/* A QEMU that dies takes with it what its guest did since the last leg, and nothing else may ever be lost. */
#define hold_copies() \
  assert(committed == 0 || isRestartable(committed)); \
  assert(qemuCrashed || isRestartable(stoppedAt))
/* Without an operator's force there is always a site that runs the VM, or asks until it knows. */
#define hold_owner() assert(mayRun(0) || mayRun(1))
#else
#define hold_copies() skip
#define hold_owner() skip
#endif

/* `cont`, or what QEMU does by itself. */
inline let_run(s) {
#if FORCES == 0
  assert(site[1 - s].qemu != qemu_runs); /* P1 */
#endif
  assert(site[s].record == record_owned); /* P4 */
  site[s].qemu = qemu_runs;
  site[s].hasRun = 1
}

/* A durable record; its epoch never goes back. */
inline write_record(s, newState, newEpoch) {
  assert(newEpoch >= site[s].epoch); /* P4 */
  site[s].record = newState;
  site[s].epoch = newEpoch;
  hold_owner(); /* P5 */
  hold_copies() /* P2 */
}

/* A site that is gone had taken the VM over. */
#define isElsewhere(s) (!site[s].hasRun && \
  (site[s].kept >= site[s].holds || site[1 - s].kept >= site[s].holds || site[1 - s].lost))

/* A QEMU is ended on purpose: what it has must be somewhere else. */
inline end_qemu(s) {
  if
  :: site[s].qemu != qemu_none && site[s].qemu != qemu_incoming && site[s].qemu != qemu_loaded ->
    assert(site[s].branch || isElsewhere(s)) /* P2 */
  :: else
  fi;
  site[s].qemu = qemu_none;
  site[s].holds = 0;
  site[s].hasRun = 0;
  hold_copies() /* P2 */
}

/* A QEMU that came with a leg which is over. */
inline kill_arriving(s) {
  site[s].qemu = qemu_none;
  site[s].holds = 0;
  site[s].hasRun = 0;
  hold_copies() /* P2 */
}

/* Takes everything off a channel of three fields. */
inline clear(c) {
  do
  :: len(c) > 0 -> c ? m, l, e
  :: else -> break
  od
}

/* There is a new connection: claims go over it first. */
#if CLAIMS > 0
#define expect_claims(s, isDue) site[s].claimsDue = isDue
#else
#define expect_claims(s, isDue) skip
#endif

/* A site that takes its VM back says so: claims that it told before say nothing of that. */
#ifdef MUTANT_CLAIMS_ONLY_ON_CONNECTION
#define TAKEN_BACK_CLAIMS site[me].claimsDue
#else
#define TAKEN_BACK_CLAIMS 1
#endif
