//! The operations of the SDK's client that functions use.

use aws_sdk_dynamodb::client::customize::CustomizableOperation;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::batch_get_item::{self, BatchGetItemError, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::delete_item::{self, DeleteItemError, DeleteItemOutput};
use aws_sdk_dynamodb::operation::get_item::{self, GetItemError, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{self, PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{self, QueryError, QueryOutput};
use aws_sdk_dynamodb::operation::scan::{self, ScanError, ScanOutput};
use aws_sdk_dynamodb::operation::transact_write_items::{
    self, TransactWriteItemsError, TransactWriteItemsOutput,
};
use aws_sdk_dynamodb::operation::update_item::{self, UpdateItemError, UpdateItemOutput};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// A request that has been sent, and its result after retries.
pub type Sent<O, E> = BoxFuture<'static, Result<O, SdkError<E, HttpResponse>>>;

/// A request to DynamoDB.
///
/// The SDK's futures are large, and the compiler generates their code in every program that awaits them: a quarter of
/// the build of a function. [`Operation::run`] erases their type, so their code is generated once, in this crate.
pub trait Operation {
    /// The response.
    type Output;

    /// The error that DynamoDB returns.
    type Error;

    /// Sends the request.
    fn run(self) -> Sent<Self::Output, Self::Error>;
}

macro_rules! operations {
    ($($builder:ty => $output:ty, $error:ty;)*) => {
        $(
            operations!(@ $builder, $output, $error);
            operations!(@ CustomizableOperation<$output, $error, $builder>, $output, $error);
        )*
    };
    (@ $request:ty, $output:ty, $error:ty) => {
        impl Operation for $request {
            type Output = $output;
            type Error = $error;

            fn run(self) -> Sent<$output, $error> {
                self.send().boxed()
            }
        }
    };
}

operations! {
    batch_get_item::builders::BatchGetItemFluentBuilder => BatchGetItemOutput, BatchGetItemError;
    delete_item::builders::DeleteItemFluentBuilder => DeleteItemOutput, DeleteItemError;
    get_item::builders::GetItemFluentBuilder => GetItemOutput, GetItemError;
    put_item::builders::PutItemFluentBuilder => PutItemOutput, PutItemError;
    query::builders::QueryFluentBuilder => QueryOutput, QueryError;
    scan::builders::ScanFluentBuilder => ScanOutput, ScanError;
    transact_write_items::builders::TransactWriteItemsFluentBuilder
        => TransactWriteItemsOutput, TransactWriteItemsError;
    update_item::builders::UpdateItemFluentBuilder => UpdateItemOutput, UpdateItemError;
}
