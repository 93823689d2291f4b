//! What the pages show: plain structs, each the context of one template, filled by the pages and
//! rendered with `Template::render`.
//!
//! Everything here is already decided and already exact: credits are integers, times and dates are text in
//! the workspace's zone. Nothing here reads a clock, a session or the database, and the templates make no
//! decision but which words to use.

mod account;
mod billing;
mod builder;
mod campaigns;
pub mod chart;
mod console;
mod embed;
mod entry;
pub mod format;
mod limits;
mod operator;
mod outreach;
mod papers;
mod people;
mod shell;
mod workspace;

pub use account::{
    DeliveryRow, DeliveryWord, MailboxRow, Section, Sections, SenderForm, SenderPage, SenderRow, Senders,
    Strategy, StrategyText, Webhook, WebhookForm, WebhookRow, WebhookState, Webhooks,
};
pub use billing::{
    Balance, Billing, BillingNow, Buy, Choice, CustomAmount, Group, History, HistoryFilter, HistoryRow,
    HistoryShow, Pack, Plan, Price, Range, Reach, ReachCampaign, Share, Usage, UsageRow,
};
pub use builder::{Builder, SenderChoice, StepForm};
pub use campaigns::{
    Campaign, CampaignLead, CampaignRow, Campaigns, Estimate, JobState, LeadCounts, PauseReason, Review,
    ReviewRow, Standing, StepRow, Timeline, Why,
};
pub use console::{
    Console, ConsoleForm, CostRow, Deliveries, Desk, Desks, DoubtRow, Doubts, EndpointRow, FailingRow,
    HealthPage, HoldRow, LogRow, Logbook, MailRow, Margin, MarginRow, PaidRow, ProviderHealth, QueueRow,
};
pub use embed::{EmbeddedChip, Theme};
pub use entry::{Credits, EntryPage, Fact, GrantRow, Moved, ReservedRow};
pub use limits::{Limit, LimitForm, Limits};
pub use operator::{Admin, AdminWorkspace, Asked, Checkout, ErrorPage, GrantForm, SignedOut, Unsubscribe};
pub use outreach::{
    Chosen, ChosenCampaign, ChosenField, Import, LeadCall, LeadCampaign, LeadPage, LeadRow, Leads, Preview,
    PreviewRow, Rejected, SearchLimit, SearchRow, Searches,
};
pub use papers::{
    AutoBuyForm, ChosenPlan, Paper, PaperLine, PaymentRow, PaymentsPage, PlanChoice, PlanPage, Receipt,
    StatementPage, StatementRow,
};
pub use people::{
    Browser, Invite, KeyRow, Keys, Password, People, Person, Sessions, SignIn, SignInForm, SignUp,
    WorkspaceRow, Workspaces,
};
pub use shell::{Banner, Chip, Flash, Live, Moment, Renewal, Role, Shell, State, Tab, Unread};
pub use workspace::{AlertForm, Notice, NoticeTone, Notices, Settings};
