//! Deploys the whole stack with `sam` to an AWS emulator, as `docs/deploy.md` describes, and uses the stack.

#![expect(clippy::print_stdout, reason = "the test takes minutes and prints its progress")]

mod account;
mod operations;
mod stack;
mod walkthrough;

use account::AwsAccount;
use develop::shipping;
use stack::Deployed;
use template::project::Project;
use walkthrough::Walkthrough;

use crate::journeys::{self, PASSWORD};

/// Follows the documentation: deploys, creates an administrator, serves users, upgrades and deletes.
///
/// This is one test because a deployment takes minutes.
#[tokio::test(flavor = "multi_thread")]
async fn deployed_as_documented() {
    let account = AwsAccount::open().await;
    let walkthrough = Walkthrough::read("docs/deploy.md");
    let sections = ["Deploy", "The first administrator", "Mail", "Upgrade", "Delete"];
    assert_eq!(
        walkthrough.titles(),
        sections,
        "this test must run every section that has commands"
    );
    let section = |title| walkthrough.section(title);
    section("Deploy").run(&account, "");
    let small = shipping::check_built(&Project::here(), &shipping::SHIPPED).unwrap();
    assert!(small, "a binary is too large");
    section("The first administrator").run(&account, &format!("{PASSWORD}\n"));
    section("Mail").run(&account, "");
    operations::only_allowed_origins_read_answers(&Deployed::of(&account), "none").await;

    // The limits are raised because all requests come from one network. A shorter grace period saves time.
    account.deploy(
        "ThrottleRegisterFree=100000 ThrottleNetworkFree=100000 ThrottleMailFree=100000 \
         RefreshGraceSeconds=5 SessionsPerAccount=5 Authorizer=true AuthorizerAccess=checked \
         Alarms=on AlarmAddress=operator@example.com Dashboard=on \
         CorsOrigins=http://localhost:5173,https://app.example.com",
    );
    let deployed = Deployed::of(&account);
    operations::only_allowed_origins_read_answers(&deployed, "https://app.example.com").await;
    macro_rules! deployed {
        ($($module:ident::$journey:ident,)*) => {
            $(
                account.begin(concat!(stringify!($module), "::", stringify!($journey)));
                journeys::$module::$journey(&deployed).await;
            )*
        };
    }
    journeys::journeys!(deployed);
    journeys::refresh::a_late_replay_ends_only_its_session(&deployed).await;

    operations::the_authorizer_admits_a_valid_caller(&deployed).await;
    operations::a_further_session_ends_the_oldest(&deployed).await;
    operations::signed_in_users_may_act_from_unknown_networks(&deployed).await;
    operations::the_mailer_completes_a_deletion(&deployed).await;
    account.begin("rare failures");
    operations::cause_rare_failures(&deployed).await;
    operations::registration_requires_an_invitation(&deployed).await;
    account.begin("metrics and permissions");
    operations::every_metric_has_been_written(&deployed);
    operations::permissions_are_minimal(&deployed).await;

    // Changing a parameter, upgrading and even deleting the stack must keep all users.
    let session = deployed.sign_in("root").await;
    account.deploy("Registration=closed");
    Walkthrough::read("docs/operate.md").section("Rolling out").run(&account, "");
    operations::two_alarms_roll_back_deployments(&account);
    section("Upgrade").run(&account, "");
    assert_eq!(deployed.register("latecomer").await.status, 403);
    assert_eq!(deployed.refresh(&session.refresh).await.status, 200);
    assert_eq!(deployed.get("/auth/admin", Some(&session.access)).await.status, 200);
    let items = deployed.user_items();
    assert!(items > 0);
    section("Delete").run(&account, "");
    assert_eq!(deployed.user_items(), items);
    let answer = deployed.get("/auth/admin", Some(&session.access)).await;
    assert_eq!(answer.status, 404, "the API has been deleted");
    account.begin("done");
}
