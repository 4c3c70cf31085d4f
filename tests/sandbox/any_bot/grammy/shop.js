// A shop as anybody writes it with grammY: a Bot that polls, handlers, nothing of Starledger's.
import { Bot, GrammyError, InlineKeyboard } from "grammy";

const bot = new Bot(process.env.BOT_TOKEN, { client: { apiRoot: process.env.BOT_API_URL } });

bot.command("start", (ctx) => ctx.reply("*Welcome*\\. Send /buy or /join\\.", { parse_mode: "MarkdownV2" }));

bot.command("buy", (ctx) =>
  ctx.replyWithInvoice("A book", "About Stars", "book", "XTR", [{ label: "A book", amount: 50 }]),
);

bot.command("join", async (ctx) => {
  const prices = [{ label: "The club", amount: 70 }];
  const period = { subscription_period: 30 * 24 * 60 * 60 };
  const link = await ctx.api.createInvoiceLink("The club", "Every month", "club", "", "XTR", prices, period);
  await ctx.reply("The club", { reply_markup: new InlineKeyboard().url("Join", link) });
});

bot.on("pre_checkout_query", (ctx) => ctx.answerPreCheckoutQuery(true));

bot.on("message:successful_payment", (ctx) => {
  const chargeId = ctx.message.successful_payment.telegram_payment_charge_id;
  return ctx.reply(`Thank you: <code>${chargeId}</code>`, { parse_mode: "HTML" });
});

bot.command("refund", async (ctx) => {
  try {
    await ctx.api.refundStarPayment(ctx.from.id, ctx.match);
  } catch (error) {
    if (!(error instanceof GrammyError)) throw error;
    return ctx.reply(error.description);
  }
  return ctx.reply("It went back");
});

bot.command("ledger", async (ctx) => {
  let rows = 0;
  let stars = 0;
  for (;;) {
    const { transactions } = await ctx.api.getStarTransactions({ offset: rows, limit: 2 });
    if (transactions.length === 0) break;
    rows += transactions.length;
    for (const row of transactions) stars += row.source ? row.amount : -row.amount;
  }
  await ctx.reply(`${rows} rows, ${stars} Stars`);
});

process.once("SIGTERM", () => bot.stop());
await bot.start();
