//! The line editor of the chat, and the terminal it changes.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use tokio::sync::mpsc;

use super::FINISHING;
use super::input::Line;
use crate::output::{self, Output};

/// Starts a line editor; with it come an output that leaves the line being typed alone, and the
/// lines that are typed. `None` if the terminal cannot be edited on, as with `TERM=dumb`.
///
/// Nothing is put out before the editor takes the keys. Until then they are the terminal's, which
/// makes of Ctrl-D nothing that the editor could read later: typed in answer to a line, it would be
/// lost.
///
/// # Errors
/// The system gives no thread.
pub fn start() -> io::Result<Option<(Output, mpsc::Receiver<Line>, Terminal)>> {
    let Ok((mut editor, mut printer)) = open() else {
        return Ok(None);
    };
    let progress = Arc::new(Progress::default());
    let terminal = Terminal::keep(Arc::clone(&progress));
    let shown = Arc::clone(&progress);
    let output = Output::to(move |line| {
        shown.wait();
        // It fails once the editor has ended, which leaves the terminal to others.
        printer
            .print(line.clone())
            .or_else(|_| output::write(&line))
    })?;
    let (sender, lines) = mpsc::channel(1);
    thread::Builder::new()
        .name("editor".to_owned())
        .spawn(move || {
            let prompt = Prompt(Arc::clone(&progress));
            while progress.begin() {
                let line = editor.readline(&prompt);
                // It may have failed before there was a prompt.
                progress.settle();
                // Ctrl-C, Ctrl-D and a terminal that is gone all end the chat.
                let Ok(line) = line else { break };
                // A line that is not remembered can be typed again.
                let _ = editor.add_history_entry(line.as_str());
                if sender.blocking_send(Ok(line)).is_err() {
                    break;
                }
            }
        })?;
    Ok(Some((output, lines, terminal)))
}

/// An editor, and what prints above the line being typed; the terminal is not changed yet.
fn open() -> Result<(Editor<(), MemHistory>, impl ExternalPrinter), ReadlineError> {
    // Nothing that would have to be undone: a signal may end the chat while a line is typed.
    let config = Config::builder().bracketed_paste(false).build();
    let mut editor = Editor::with_history(config, MemHistory::new())?;
    let printer = editor.create_external_printer()?;
    Ok((editor, printer))
}

/// What stands before the line being typed.
struct Prompt(Arc<Progress>);

impl rustyline::Prompt for Prompt {
    /// The editor asks for it once it has changed the terminal, to show it.
    fn raw(&self) -> &str {
        self.0.settle();
        "> "
    }
}

/// How far the editor is with the terminal, for those who must not come between.
#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    settled: Condvar,
}

struct State {
    /// It is about to change the terminal. It begins with that.
    changing: bool,
    /// It must not change the terminal any more.
    over: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            changing: true,
            over: false,
        }
    }
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the terminal is about to be changed; whether it may be.
    fn begin(&self) -> bool {
        let mut state = self.state();
        state.changing = !state.over;
        state.changing
    }

    /// Says that the terminal is changed.
    fn settle(&self) {
        self.state().changing = false;
        self.settled.notify_all();
    }

    /// Waits until the terminal is not being changed.
    fn wait(&self) {
        let changing = |state: &mut State| state.changing;
        drop(self.settled.wait_while(self.state(), changing));
    }

    /// Lets the terminal be changed no more, and waits for a change under way.
    fn end(&self) {
        let mut state = self.state();
        state.over = true;
        // A terminal that takes no output holds up a change for as long as it likes.
        let changing = |state: &mut State| state.changing;
        drop(self.settled.wait_timeout_while(state, FINISHING, changing));
    }
}

/// Puts the terminal back as it was when dropped: the editor may still be reading then.
pub struct Terminal {
    progress: Arc<Progress>,
    #[cfg(unix)]
    before: Option<nix::sys::termios::Termios>,
}

impl Terminal {
    fn keep(progress: Arc<Progress>) -> Self {
        Self {
            progress,
            #[cfg(unix)]
            before: nix::sys::termios::tcgetattr(io::stdin()).ok(),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.progress.end();
        #[cfg(unix)]
        {
            use nix::sys::termios::{SetArg, tcsetattr};
            if let Some(before) = &self.before {
                let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
            }
        }
    }
}
