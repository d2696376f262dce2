//! A terminal for tests: the program runs in it, and what stands on its screen can be asked.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, Winsize, tcflow, tcsetwinsize};

/// The program in a terminal.
pub struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<Screen>>,
    reader: JoinHandle<()>,
    /// The program's end of a terminal whose output is stopped.
    stopped: Option<File>,
}

impl Terminal {
    /// Starts it in a directory, in a terminal of so many columns.
    pub fn start(directory: &Path, arguments: &[&str], columns: u16) -> Terminal {
        Terminal::open(directory, arguments, columns, false)
    }

    /// Starts it in a terminal that takes no output until it is released.
    pub fn start_stopped(directory: &Path, arguments: &[&str], columns: u16) -> Terminal {
        Terminal::open(directory, arguments, columns, true)
    }

    fn open(directory: &Path, arguments: &[&str], columns: u16, is_stopped: bool) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let name = name.to_str().unwrap();
        let other_end = || {
            use std::os::unix::fs::OpenOptionsExt;
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true);
            let options = options.custom_flags(OFlags::NOCTTY.bits() as i32);
            options.open(name).unwrap()
        };
        let stopped = is_stopped.then(other_end);
        if let Some(stopped) = &stopped {
            tcflow(stopped, Action::OOff).unwrap();
        }
        // In a session of its own, so that the terminal's Ctrl-C reaches it and nothing else.
        let child = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_milvusdm")])
            .args(arguments)
            .current_dir(directory)
            .stdin(other_end())
            .stdout(other_end())
            .stderr(other_end())
            .spawn()
            .unwrap();
        let keys = File::from(master);
        let mut bytes = keys.try_clone().unwrap();
        let screen = Arc::new(Mutex::new(Screen::new(columns.into())));
        let shown = screen.clone();
        let read = move || {
            let mut buffer = [0; 4096];
            // Reading fails when the other end is closed by all.
            while let Ok(count @ 1..) = bytes.read(&mut buffer) {
                shown.lock().unwrap().feed(&buffer[..count]);
            }
        };
        let reader = std::thread::spawn(read);
        Terminal {
            child,
            keys,
            screen,
            reader,
            stopped,
        }
    }

    /// Lets a stopped terminal take output again.
    pub fn release(&mut self) {
        let stopped = self.stopped.take().unwrap();
        tcflow(stopped, Action::OOn).unwrap();
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// How it ended, whatever its terminal takes. Fails if it does not end within so long.
    #[track_caller]
    pub fn ended(mut self, within: Duration) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if since.elapsed() > within {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("it did not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&mut self) {
        self.keys.write_all(b"\x03").unwrap();
    }

    /// What stands in the line that is being redrawn.
    pub fn line(&self) -> String {
        self.screen.lock().unwrap().current()
    }

    /// How it ended, and the screen as it then is.
    pub fn end(mut self) -> (ExitStatus, Screen) {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        let screen = Arc::try_unwrap(self.screen).ok().unwrap();
        (status, screen.into_inner().unwrap())
    }
}

/// What a terminal makes of the bytes it is sent: as much as the program may use.
pub struct Screen {
    columns: usize,
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    pending: Vec<u8>,
    /// Each state that the redrawn line had.
    pub frames: Vec<String>,
}

impl Screen {
    fn new(columns: usize) -> Screen {
        Screen {
            columns,
            lines: vec![Vec::new()],
            row: 0,
            column: 0,
            pending: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// The lines that stand there, empty ones at the end left out.
    pub fn lines(&self) -> Vec<String> {
        let text = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
        let mut lines: Vec<String> = self.lines.iter().map(text).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    fn current(&self) -> String {
        self.lines[self.row].iter().collect()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        let text = match std::str::from_utf8(&self.pending) {
            Ok(text) => text.to_owned(),
            Err(e) => String::from_utf8_lossy(&self.pending[..e.valid_up_to()]).into_owned(),
        };
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            if c == '\x1b' && rest.len() < 3 {
                break;
            }
            match c {
                '\x1b' => {
                    assert_eq!(&rest[..3], "\x1b[K", "an escape that no one expects");
                    self.lines[self.row].truncate(self.column);
                    self.frames.push(self.current());
                    rest = &rest[3..];
                    continue;
                }
                '\r' => self.column = 0,
                '\n' => self.newline(),
                c => {
                    assert!(!c.is_control(), "{c:?} reached the terminal");
                    self.put(c);
                }
            }
            rest = &rest[c.len_utf8()..];
        }
        let used = text.len() - rest.len();
        self.pending.drain(..used);
    }

    fn newline(&mut self) {
        self.row += 1;
        self.column = 0;
        if self.row == self.lines.len() {
            self.lines.push(Vec::new());
        }
    }

    fn put(&mut self, c: char) {
        if self.column == self.columns {
            self.newline();
        }
        let line = &mut self.lines[self.row];
        line.resize(line.len().max(self.column + 1), ' ');
        line[self.column] = c;
        self.column += 1;
    }
}
