//! The threads of a training: phases of a few microseconds, handed out without sleeping and waking between them.
//!
//! [`Team::enter`] borrows the workers of the caller's rayon pool for as long as a run of steps lasts. Within it,
//! [`Team::for_each`] is one phase. Member k of n begins with tasks k, k + n, k + 2n, ..., so that what it left in its
//! cache in one phase is there in the next, and then helps the others. The leader (the calling thread) waits only for
//! tasks that somebody has begun, so a pool that is busy elsewhere, or has one thread, slows a training down but cannot
//! block it. Tasks are fixed by the data, never by the threads: the same bits whoever runs them.

use std::{
    cell::{Cell, UnsafeCell},
    marker::PhantomData,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

/// The tasks that one member begins with: how many they are (24 bits), and how many of them are claimed (24 bits); one
/// atomic, so that a claim cannot mix two phases. A cache line pair of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Ticket(AtomicU64);

const FIELD: u32 = 24;
const MASK: u64 = (1 << FIELD) - 1;
/// Turns of the waiting loop before the thread offers its core to others.
const SPINS: u32 = 2_000;

/// A phase's closure, its type forgotten.
#[derive(Clone, Copy)]
struct Job {
    run: unsafe fn(*const (), usize),
    data: *const (),
}

/// The leader's hold of a team: itself and whoever of the pool joins in.
#[derive(Debug)]
pub struct Team<'t> {
    shared: &'t Shared,
    /// Not `Sync`: nothing that a phase runs can begin another.
    leader: PhantomData<Cell<()>>,
}

/// What leader and helpers share.
struct Shared {
    /// `[members]`.
    tickets: Vec<Ticket>,
    finished: Ticket,
    over: AtomicBool,
    job: UnsafeCell<Option<Job>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

// SAFETY: `job` is written by the leader only while no task is claimable or running, and read only after a claim,
// which its ticket's release and acquire order behind the write.
unsafe impl Sync for Shared {}

/// Runs its closure when dropped, also when a task panics, so that nobody waits for it for ever.
struct Finally<F: FnMut()>(F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Team<'_> {
    /// Runs `lead` with a team of the current rayon pool. It must not wait for the pool: a worker that it waits for may
    /// be a helper, which waits for the end of `lead`.
    pub fn enter<R: Send>(lead: impl FnOnce(&Team<'_>) -> R + Send) -> R {
        let members = rayon::current_num_threads();
        let shared = Shared {
            tickets: (0..members).map(|_| Ticket::default()).collect(),
            finished: Ticket::default(),
            over: AtomicBool::new(false),
            job: UnsafeCell::new(None),
        };
        rayon::scope(|scope| {
            let shared = &shared;
            for member in 1..members {
                scope.spawn(move |_| shared.help(member));
            }
            let _over = Finally(|| shared.over.store(true, Ordering::Release));
            lead(&Team { shared, leader: PhantomData })
        })
    }

    /// One phase: `f` on every task, each once, by whoever is free.
    pub fn for_each<T: Send>(&self, tasks: &mut [T], f: impl Fn(&mut T) + Sync) {
        struct Phase<T, F> {
            tasks: *mut T,
            f: F,
        }
        /// # Safety
        /// `data` is a live `Phase<T, F>`, `index` is below its number of tasks and is claimed by nobody else.
        unsafe fn run<T, F: Fn(&mut T)>(data: *const (), index: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                let phase = &*data.cast::<Phase<T, F>>();
                (phase.f)(&mut *phase.tasks.add(index));
            }
        }
        fn job<T, F: Fn(&mut T)>(phase: &Phase<T, F>) -> Job {
            Job { run: run::<T, F>, data: std::ptr::from_ref(phase).cast() }
        }
        let count = tasks.len() as u64;
        assert!(count < MASK - 4096, "{count} tasks");
        let phase = Phase { tasks: tasks.as_mut_ptr(), f };
        let shared = self.shared;
        shared.finished.0.store(0, Ordering::Relaxed);
        // SAFETY: only the leader has a `Team`, and no phase begins within another, so the last one is finished: no
        // claim can be made, and nobody reads.
        unsafe { *shared.job.get() = Some(job(&phase)) };
        for (member, ticket) in shared.tickets.iter().enumerate() {
            let share = count.saturating_sub(member as u64).div_ceil(shared.tickets.len() as u64);
            ticket.0.store(share << FIELD, Ordering::Release);
        }
        // The phase must outlive the tasks of the others, also when a task of the leader's own panics; what nobody has
        // begun is then passed over.
        let _finished = Finally(|| {
            let mut spins = 0;
            while shared.finished.0.load(Ordering::Acquire) < count {
                if thread::panicking() && shared.claim(0).is_some() {
                    shared.finished.0.fetch_add(1, Ordering::Release);
                } else {
                    wait(&mut spins);
                }
            }
        });
        while shared.work(0) {}
    }
}

impl Shared {
    /// Claims a task of the current phase, if one is left: the member's own ones first.
    fn claim(&self, member: usize) -> Option<usize> {
        let left = |ticket: u64| ticket & MASK < ticket >> FIELD & MASK;
        let members = self.tickets.len();
        (member..members).chain(0..member).find_map(|owner| {
            let ticket = &self.tickets[owner].0;
            // Looking first keeps idle threads from running the counter up.
            if !left(ticket.load(Ordering::Relaxed)) {
                return None;
            }
            let ticket = ticket.fetch_add(1, Ordering::AcqRel);
            left(ticket).then_some((ticket & MASK) as usize * members + owner)
        })
    }

    /// Claims and runs a task; false if none is left.
    fn work(&self, member: usize) -> bool {
        let Some(index) = self.claim(member) else { return false };
        let _done = Finally(|| {
            self.finished.0.fetch_add(1, Ordering::Release);
        });
        // SAFETY: the claim is valid, so the phase's leader waits for `finished`: the job and its tasks live, and
        // no other claim has this index.
        unsafe {
            if let Some(job) = *self.job.get() {
                (job.run)(job.data, index);
            }
        }
        true
    }

    fn help(&self, member: usize) {
        let mut spins = 0;
        while !self.over.load(Ordering::Acquire) {
            if self.work(member) {
                spins = 0;
            } else {
                wait(&mut spins);
            }
        }
    }
}

fn wait(spins: &mut u32) {
    if *spins < SPINS {
        *spins += 1;
        std::hint::spin_loop();
    } else {
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_in_every_phase() {
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                Team::enter(|team| {
                    let mut counts = vec![0u32; 100];
                    // An interpreter takes a hundred times as long.
                    for phase in 1..=if cfg!(miri) { 20 } else { 2000u32 } {
                        let n = (phase as usize * 7) % 100;
                        team.for_each(&mut counts[..n], |count| *count += 1);
                        let expected = counts[..n].to_vec();
                        counts[..n].fill(0);
                        assert!(expected.iter().all(|&c| c == 1), "phase {phase}: {expected:?}");
                    }
                });
            });
        }
    }

    #[test]
    fn teams_side_by_side_do_not_block_each_other() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let phases = if cfg!(miri) { 10 } else { 500 };
        let train = || {
            Team::enter(|team| {
                let mut sum = vec![0u64; 32];
                for _ in 0..phases {
                    team.for_each(&mut sum, |x| *x += 1);
                }
                sum.iter().sum::<u64>()
            })
        };
        assert_eq!(pool.install(|| rayon::join(train, train)), (32 * phases, 32 * phases));
    }

    #[test]
    fn a_panic_in_a_task_ends_the_team() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.install(|| {
                Team::enter(|team| team.for_each(&mut [0, 1, 2, 3], |x| assert!(*x != 2, "planted")));
            });
        }));
        assert!(result.is_err());
    }
}
