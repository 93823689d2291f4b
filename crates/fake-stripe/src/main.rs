//! The stand-in as a process: `fake-stripe [ADDRESS]`, which prints its address and serves until it is ended.

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let fake = fake_stripe::FakeStripe::listen(&address).await?;
    println!("{}", fake.url);
    fake.served().await;
    Ok(())
}
