//! Tests of the proxy itself.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{Proxy, address};

/// A server that sends back what it receives.
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
fn a_proxy_switches_to_another_server() {
    let proxy = Proxy::to(greeting(b'a'));
    let connect = || TcpStream::connect(address(proxy.port())).expect("a connection");
    receives(&mut connect(), b"aa").expect("the first server");
    proxy.switch(greeting(b'b'));
    receives(&mut connect(), b"bb").expect("the second server");
}

fn echoes(stream: &mut TcpStream, text: &[u8; 2]) -> std::io::Result<()> {
    stream.write_all(text)?;
    receives(stream, text)
}

fn receives(stream: &mut TcpStream, text: &[u8; 2]) -> std::io::Result<()> {
    let mut received = [0; 2];
    stream.read_exact(&mut received)?;
    assert_eq!(received, *text);
    Ok(())
}

#[test]
fn a_proxy_passes_silences_breaks_and_restores_connections() {
    let proxy = Proxy::to(echo());
    let connect = || TcpStream::connect(address(proxy.port()));
    let mut stream = connect().expect("a connection");
    echoes(&mut stream, b"ab").expect("an echo");
    proxy.silence();
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    assert!(echoes(&mut stream, b"cd").is_err());
    proxy.mend();
    stream.set_read_timeout(None).expect("no timeout");
    receives(&mut stream, b"cd").expect("the silenced bytes");
    proxy.cut();
    assert!(echoes(&mut stream, b"ef").is_err());
    assert!(connect().is_err());
    proxy.mend();
    echoes(&mut connect().expect("a connection"), b"gh").expect("an echo");
}
