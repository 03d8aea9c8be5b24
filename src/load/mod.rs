//! A load generator for Ethereum endpoints that tells the truth about the slow ones.
//!
//! **The loop is open.** When each request is due is settled beforehand, from rate and seed, and its latency counts
//! from then. A client that waits for one answer before it asks the next keeps quiet about all that it did not ask
//! meanwhile (*coordinated omission*: Gil Tene, "How NOT to Measure Latency", 2015); this one does not. What cannot be
//! sent because all connections are busy is sent later or, when its time is over, counted as failed.
//!
//! **Answers are checked.** Each is judged by the same [`classify`](crate::policy::classify) that the proxy routes by;
//! a head that goes back, an answer to another request, two endpoints that disagree about a settled block: all of it
//! is counted as wrong.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use outrigger::config::BackendUrl;
//! use outrigger::load::{Mix, Rate, Settings, Target, run};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let target = Target::new(BackendUrl::http("http://localhost:8545")?);
//! let settings = Settings {
//!     rate: Rate::ramp(100.0, 2000.0)?,
//!     duration: Duration::from_secs(30),
//!     mix: Mix::Trader,
//!     ..Settings::new(target)
//! };
//! let report = run(&settings, &CancellationToken::new(), |_event| {}).await?;
//! println!("p99 {:.1} ms", report.targets[0].whole.latency.p99_ms);
//! # Ok(())
//! # }
//! ```
//!
//! | file | the one idea |
//! |---|---|
//! | `schedule.rs`, `pacer.rs` | when each request is due; the thread that wakes then |
//! | `mix.rs`, `known.rs`, `recorded.rs`, `call.rs` | what is asked, of whom, out of a file, as bytes |
//! | `survey.rs` | what has to be looked at before |
//! | `judge.rs`, `heads.rs`, `agreement.rs` | what an answer came to, and whether it can be true |
//! | `latencies.rs`, `tally.rs` | what is counted, in bounded memory |
//! | `run.rs`, `aim.rs`, `machine.rs` | the load itself, one target of it, and what it costs this process |
//! | `report.rs`, `page.rs`, `chart.rs` | what was seen, for programs; as a page; its plots |

mod agreement;
mod aim;
mod call;
mod chart;
mod heads;
mod judge;
mod known;
mod latencies;
mod machine;
mod mix;
mod pacer;
mod page;
mod recorded;
mod report;
mod run;
mod schedule;
mod settings;
mod survey;
mod tally;

pub use agreement::Agreement;
pub use call::{BATCH_MAX, Call, Request};
pub use heads::Heads;
pub use judge::Fate;
pub use known::Known;
pub use latencies::{Latencies, Quantiles};
pub use mix::{Mix, MixError};
pub use page::page;
pub use recorded::{FILE_BYTES_MAX, Recorded, RecordedError};
pub use report::{Comparison, Counts, Generator, MethodReport, Moment, NamedPart, Report, TargetReport};
pub use run::{Event, Progress, run};
pub use schedule::{Arrivals, RATE, Rate, RateError, Schedule};
pub use settings::{CONNECTIONS, DURATION, LoadError, Mark, ROUNDS, Settings, TIMEOUT, Target, WARM_UP_MAX};
pub use tally::NOT_STARTED;
