//! `iopkt rings`: an application of DPDK that is shown an interface's packets.
//!
//! The program that is started has the connection to the daemon as an open descriptor, and does nothing with it: when the
//! kernel closes it, because the program has ended, the daemon takes back what packets it had.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use proto::{Reply, Request};

use crate::cli::RingsArgs;
use crate::control::{CallError, Control};
use crate::fail::Failure;

/// Linux's errnos that say more here than elsewhere.
const ENXIO: i32 = 6;
const EBUSY: i32 = 16;
const EOPNOTSUPP: i32 = 95;

/// Runs `rings`: asks for the packets, then becomes the program.
pub(crate) fn main(sock: Option<String>, args: &RingsArgs) -> Result<(), Failure> {
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::usage(
            "which program? as in: iopkt rings tap0 -- ./packet_app".into(),
        ));
    };
    let mut control = Control::open(sock)?;
    let interface = args.interface.clone();
    let (file_prefix, queues) = match control.call(Request::ShowPackets { interface }) {
        Ok(Reply::Shown { file_prefix, queues }) => (file_prefix, queues),
        Ok(_) => return Err(Failure::other_version(control.path())),
        Err(CallError::Broken(failure)) => return Err(failure),
        Err(CallError::Refused(errno)) => {
            let what = format!("cannot show the packets of {}", args.interface);
            return Err(Failure::refused(&what, errno, hint(errno)));
        }
    };
    let _connection = control.keep_over_exec()?;
    let error = Command::new(program)
        .args(rest)
        .env("IOPKT_FILE_PREFIX", file_prefix)
        .env("IOPKT_RINGS", queues.join(" "))
        .exec();
    let name = program.display();
    Err(Failure::failed(format!("cannot run {name}: {error}; is it spelled right?")))
}

fn hint(errno: i32) -> &'static str {
    match errno {
        ENXIO => "see: iopkt ifconfig",
        EBUSY => "an application has them; end it first",
        EOPNOTSUPP => {
            "the configuration has to say [eal] multi_process = true, and packet_rings for the interface"
        }
        _ => "",
    }
}
