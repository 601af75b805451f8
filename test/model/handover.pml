/*
 * The handover of a VM between two sites as a Promela model, for exhaustive checking with spin.
 * What each part stands for in the code:
 *
 *     vocabulary.pml    names, durable records, channels, and what must always hold
 *     source.pml        cli/leg/source-leg.ts, source-link.ts
 *     destination.pml   cli/leg/destination-leg.ts, destination-link.ts
 *     ownership.pml     cli/agent/settle.ts, recover.ts, claims between agents
 *     surroundings.pml  QEMU, the network, crashes and restarts (cli/agent/lifecycle.ts), the end of a run
 *
 * Every process is a loop of guarded steps. A step is indivisible and has at most one effect that somebody else can
 * see before the next step: one durable write with the message that may be lost right after it, one command to QEMU.
 * So a crash of an agent, a cut or a timeout can come between any two of them. Time is not modelled: a timeout may
 * fire at any moment where the code has one.
 *
 * Bounds. `npm run model-check` gives each configuration its own with -D; see .ci/model-check.mjs.
 */

/* Messages that a channel holds. */
#ifndef CHANNEL
#define CHANNEL 2
#endif
/* kill -9 of each site's agent; it is started again every time. */
#ifndef CRASHES
#define CRASHES 2
#endif
/* Losses of connections, over the whole run. */
#ifndef CUTS
#define CUTS 2
#endif
/* Deaths of each site's QEMU. */
#ifndef QEMU_CRASHES
#define QEMU_CRASHES 0
#endif
/* Refusals of `cont` at a destination, over the whole run. */
#ifndef CONT_FAILURES
#define CONT_FAILURES 1
#endif
/* Highest epoch that a leg may ask for; a refusal may add one to it. */
#ifndef EPOCHS
#define EPOCHS 3
#endif
/* Legs that may begin, over the whole run. */
#ifndef LEGS
#define LEGS 3
#endif
/* Sites that may be lost for ever; an operator then forces the other one. */
#ifndef LOSSES
#define LOSSES 0
#endif
/* Times that an operator forces a site though the other one is not fenced. */
#ifndef FORCES
#define FORCES 0
#endif

/* 1: agents tell each other what they own, on each new connection. */
#ifndef CLAIMS
#define CLAIMS (FORCES > 0)
#endif

#include "vocabulary.pml"
#include "source.pml"
#include "destination.pml"
#include "ownership.pml"
#include "surroundings.pml"

init {
  atomic {
    site[0].up = 1;
    site[1].up = 1;
    site[0].qemu = qemu_runs;
    site[0].hasRun = 1;
    site[1].qemu = qemu_none;
    site[0].state = idle;
    site[1].state = idle;
    site[0].record = record_owned;
#ifdef AFTER_A_LEG
    /* The VM came from the other site: both have the generation that it came with. */
    site[0].epoch = 1;
    site[1].epoch = 1;
    site[0].kept = 1;
    site[1].kept = 1;
    site[0].holds = 1;
    site[1].record = record_away;
    committed = 1;
    stoppedAt = 1;
#else
    site[0].epoch = 1;
    site[1].record = record_none;
#endif
    run source(0);
    run source(1);
    run destination(0);
    run destination(1);
    run ownership(0);
    run ownership(1);
    run qemuProcess(0);
    run qemuProcess(1);
    run network();
    run host(0);
    run host(1);
    run closing();
  }
}
