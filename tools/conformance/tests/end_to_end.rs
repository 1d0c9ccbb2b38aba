//! The compiled functions over HTTP: behind the local gateway, and deployed to an AWS emulator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deployment;
mod journeys;

mod end_to_end {
    mod browser;
    mod clients;
    mod description;
    mod dev;
    mod edge;
    mod hostile;
    mod interoperate;
    mod mails;
    mod migration;
    mod refresh;
    mod registration;
    mod rotation;
    mod server;
    mod throttle;

    macro_rules! on_the_shared_server {
        ($($module:ident::$journey:ident,)*) => {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $journey() {
                    crate::journeys::$module::$journey(server::shared()).await;
                }
            )*
        };
    }
    crate::journeys::journeys!(on_the_shared_server);
}
