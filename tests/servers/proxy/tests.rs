//! That the line does what the tests take for granted.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{Proxy, address};

/// A server that sends back what it gets.
fn echo() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    port
}

/// A server that greets with a letter.
fn greeting(letter: u8) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|mut stream| drop(stream.write_all(&[letter; 2])))
    });
    port
}

#[test]
fn a_line_can_lead_to_another_server() {
    let proxy = Proxy::to(greeting(b'a'));
    let connect = || TcpStream::connect(address(proxy.port())).expect("a connection");
    hears(&mut connect(), b"aa").expect("the first server");
    proxy.switch(greeting(b'b'));
    hears(&mut connect(), b"bb").expect("the second server");
}

fn says(stream: &mut TcpStream, text: &[u8; 2]) -> std::io::Result<()> {
    stream.write_all(text)?;
    hears(stream, text)
}

fn hears(stream: &mut TcpStream, text: &[u8; 2]) -> std::io::Result<()> {
    let mut heard = [0; 2];
    stream.read_exact(&mut heard)?;
    assert_eq!(heard, *text);
    Ok(())
}

#[test]
fn a_line_passes_is_silent_breaks_and_is_mended() {
    let proxy = Proxy::to(echo());
    let connect = || TcpStream::connect(address(proxy.port()));
    let mut stream = connect().expect("a connection");
    says(&mut stream, b"ab").expect("an echo");
    proxy.silence();
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    assert!(says(&mut stream, b"cd").is_err());
    proxy.mend();
    stream.set_read_timeout(None).expect("no timeout");
    hears(&mut stream, b"cd").expect("what was silenced");
    proxy.cut();
    assert!(says(&mut stream, b"ef").is_err());
    assert!(connect().is_err());
    proxy.mend();
    says(&mut connect().expect("a connection"), b"gh").expect("an echo");
}
