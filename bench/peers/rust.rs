//! rust.rs -- bare Rust async: a hand-made single-threaded executor, no crates.
//!
//! A task is one Box of {next, poll function, group, future}; the waker is the task's address, its
//! clone and drop do nothing, and waking appends the task to an intrusive list. Nested calls are
//! plain async fns, so the compiler lays a call tree out in one static state machine; only depth100
//! is boxed, as recursion has to be.

use std::cell::Cell;
use std::env;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::process::exit;
use std::ptr::null_mut;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

// ---- ready queue and tasks ---------------------------------------------------------------------

struct Group {
    count: Cell<usize>,
    waiter: Cell<Option<Waker>>,
}

#[repr(C)]
struct Head {
    next: *mut Head,
    poll: unsafe fn(*mut Head),
}

#[repr(C)]
struct Task<F> {
    head: Head,
    group: *const Group,
    future: F,
}

static mut FIRST: *mut Head = null_mut();
static mut LAST: *mut Head = null_mut();
static VTABLE: RawWakerVTable = RawWakerVTable::new(waker_clone, waker_wake, waker_wake, |_| {});

unsafe fn waker_clone(task: *const ()) -> RawWaker {
    RawWaker::new(task, &VTABLE)
}

unsafe fn waker_wake(task: *const ()) {
    unsafe { ready_push(task as *mut Head) }
}

#[inline]
unsafe fn ready_push(task: *mut Head) {
    unsafe {
        (*task).next = null_mut();
        if FIRST.is_null() {
            FIRST = task;
        } else {
            (*LAST).next = task;
        }
        LAST = task;
    }
}

/// The next task stays in a register; FIRST is read only where the list had run empty, and only its
/// being null matters to a push.
fn ready_run() {
    unsafe {
        let mut task = FIRST;
        while !task.is_null() {
            let next = (*task).next;
            if next.is_null() {
                FIRST = null_mut();
            }
            ((*task).poll)(task);
            task = if next.is_null() { FIRST } else { next };
        }
    }
}

unsafe fn task_poll<F: Future<Output = ()>>(head: *mut Head) {
    unsafe {
        let task = head as *mut Task<F>;
        let waker = std::mem::ManuallyDrop::new(Waker::from_raw(RawWaker::new(
            head as *const (),
            &VTABLE,
        )));
        let future = Pin::new_unchecked(&mut (*task).future);
        if future.poll(&mut Context::from_waker(&waker)).is_ready() {
            let group = (*task).group;
            drop(Box::from_raw(task));
            if !group.is_null() {
                (*group).count.set((*group).count.get() - 1);
                if (*group).count.get() == 0 {
                    if let Some(waiter) = (*group).waiter.take() {
                        waiter.wake();
                    }
                }
            }
        }
    }
}

fn task_new<F: Future<Output = ()> + 'static>(group: *const Group, future: F) -> *mut Head {
    let head = Head { next: null_mut(), poll: task_poll::<F> };
    Box::into_raw(Box::new(Task { head, group, future })) as *mut Head
}

impl Group {
    fn spawn<F: Future<Output = ()> + 'static>(&self, future: F) {
        self.count.set(self.count.get() + 1);
        unsafe { ready_push(task_new(self, future)) }
    }
}

struct Join<'a>(&'a Group);

impl Future for Join<'_> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.count.get() == 0 {
            return Poll::Ready(());
        }
        self.0.waiter.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

struct Yield(bool);

impl Future for Yield {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// ---- benchmarks --------------------------------------------------------------------------------

fn cpu() -> f64 {
    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, now: *mut Timespec) -> i32;
    }
    const PROCESS_CPUTIME: i32 = 2;
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    unsafe { clock_gettime(PROCESS_CPUTIME, &mut now) };
    now.seconds as f64 * 1e9 + now.nanoseconds as f64
}

fn timed_run(n: u64) -> f64 {
    let start = cpu();
    ready_run();
    (cpu() - start) / n as f64
}

/// The numbers of bench.h's bench_shuffled.
fn shuffled(n: u64) -> Vec<usize> {
    let mut order = vec![0; n as usize];
    let mut state: u64 = 42;
    for i in 0..n {
        state = state.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        let j = ((z ^ (z >> 31)) % (i + 1)) as usize;
        order[i as usize] = order[j];
        order[j] = i as usize;
    }
    order
}

async fn yielder(n: u64) {
    for _ in 0..n {
        Yield(false).await;
    }
}

fn switch(n: u64, tasks: u64) -> f64 {
    let null = std::ptr::null();
    let all: Vec<*mut Head> = (0..tasks).map(|_| task_new(null, yielder(n / tasks))).collect();
    let order = shuffled(tasks);
    for i in 0..tasks as usize {
        unsafe { ready_push(all[if tasks < 100000 { i } else { order[i] }]) };
    }
    timed_run(n / tasks * tasks)
}

async fn add_one(i: u64) -> u64 {
    black_box(i) + 1
}

fn call(n: u64) -> f64 {
    let body = async move {
        let mut total = 0;
        for i in 0..n {
            total += add_one(i).await;
            if i % 100 == 99 {
                Yield(false).await;
            }
        }
        assert_eq!(total, n * (n + 1) / 2);
    };
    unsafe { ready_push(task_new(std::ptr::null(), body)) };
    timed_run(n)
}

/// Declares one async fn per level, each awaiting the one after it.
macro_rules! levels {
    ($name:ident) => {
        async fn $name(n: u64) -> u64 {
            yielder(n).await;
            1
        }
    };
    ($name:ident $next:ident $($rest:ident)*) => {
        async fn $name(n: u64) -> u64 {
            1 + $next(n).await
        }
        levels!($next $($rest)*);
    };
}

levels!(a1 a2 a3 a4 a5 a6 a7 a8 a9 a10);

fn depth1(n: u64) -> f64 {
    unsafe { ready_push(task_new(std::ptr::null(), yielder(n))) };
    timed_run(n)
}

fn depth10(n: u64) -> f64 {
    let body = async move { assert_eq!(a1(n).await, 10) };
    unsafe { ready_push(task_new(std::ptr::null(), body)) };
    timed_run(n)
}

fn boxed(levels: u64, n: u64) -> Pin<Box<dyn Future<Output = u64>>> {
    Box::pin(async move {
        if levels == 1 {
            yielder(n).await;
            return 1;
        }
        1 + boxed(levels - 1, n).await
    })
}

fn depth100(n: u64) -> f64 {
    let body = async move { assert_eq!(boxed(100, n).await, 100) };
    unsafe { ready_push(task_new(std::ptr::null(), body)) };
    timed_run(n)
}

async fn child(ended: *const Cell<u64>) {
    unsafe { (*ended).set((*ended).get() + 1) };
}

fn spawn(n: u64, at_once: u64) -> f64 {
    let body = async move {
        let group = Group { count: Cell::new(0), waiter: Cell::new(None) };
        let ended = Cell::new(0);
        while ended.get() < n {
            for _ in 0..at_once {
                group.spawn(child(&ended));
            }
            Join(&group).await;
        }
        assert_eq!(ended.get(), n);
    };
    unsafe { ready_push(task_new(std::ptr::null(), body)) };
    timed_run(n)
}

fn main() {
    let args: Vec<String> = env::args().collect();
    let n: u64 = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(0);
    let ns = match args.get(1).map(|s| s.as_str()).unwrap_or("") {
        "switch2" => switch(n, 2),
        "switch1k" => switch(n, 1000),
        "switch100k" => switch(n, 100000),
        "switch1m" => switch(n, 1000000),
        "call" => call(n),
        "depth1" => depth1(n),
        "depth10" => depth10(n),
        "depth100" => depth100(n),
        "spawn" => spawn(n, 1),
        "spawn_mass" => spawn(n, n),
        _ => exit(2),
    };
    println!("{ns:.3}");
}
