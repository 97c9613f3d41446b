/**
 * Many requests at once over one or several servers, as many as these bear: a TextModel made of TextModels.
 *
 * Answers are read whole: one that broke off is asked for again, and nothing of it is given on. How many requests a
 * server is sent is learnt from its answers, as `Pace` says; requests wait in the order they came. Give it models that
 * do not try again by themselves, as `OpenAi` with `retries: 0`.
 *
 * @module
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { estimateUsage } from "./Budget.ts"
import * as Pace from "./core/Pace.ts"
import * as Rate from "./core/Rate.ts"
import * as Retry from "./Retry.ts"
import { type Finish, ModelError, type Part, type Request, TextModel, unfinished } from "./TextModel.ts"
import { estimate } from "./Tokenizer.ts"

/** A model that many requests share, and how it fares. */
export interface Load extends TextModel {
  /** How things stand now. */
  readonly status: Effect.Effect<Status>
}

/** A server to send requests to. */
export interface Server {
  /** How it is asked; it should not try again by itself. */
  readonly model: TextModel
  /** Its share, 1 by default: how many times `start` and `concurrency` requests it is sent. */
  readonly weight?: number
}

/** How things stand. */
export interface Status {
  /** The servers, as they were given. */
  readonly servers: ReadonlyArray<ServerStatus>
  /** How many requests wait: for a server, or to be tried again. */
  readonly waiting: number
  /** The tokens that were written in a second, on average over the last minute. */
  readonly tokensPerSecond: number
}

/** How a server fares. */
export interface ServerStatus {
  /** The model's name. */
  readonly name: string
  /** How many requests it may be sent at once. */
  readonly limit: number
  /** How many requests it is at. */
  readonly inFlight: number
  /** How many requests to it failed so far, each try counted. */
  readonly failures: number
  /** How long it is left alone from now, in milliseconds. */
  readonly pause: number
}

/** How many requests are sent, how often, and when to stop. */
export interface Options {
  /** How many requests a server is sent at once to begin with; 8 by default, and never more than `concurrency`. */
  readonly start?: number
  /** The most requests a server is sent at once, 64 by default. */
  readonly concurrency?: number
  /**
   * How often a request is sent again, 5 by default: after waits of 0.5 s, 1 s, 2 s … up to 30 s, each ± 20 %, and to
   * another server where one is free.
   */
  readonly retries?: number
  /**
   * The longest that a server may ask to be left alone, 10 minutes by default. Meanwhile it is sent nothing; where every
   * server asks for more or is down, no more requests are sent.
   */
  readonly maxRetryAfter?: Duration.Input
  /** The most requests that are sent in any minute, to all servers together; no limit by default. */
  readonly requestsPerMinute?: number
  /**
   * The most tokens, read and written, in any minute, over all servers together; no limit by default. They are estimated
   * when a request is sent, and corrected by the server's figures.
   */
  readonly tokensPerMinute?: number
  /**
   * How many failures in a row it takes at least until a server counts as down, 5 by default. Those of one request count
   * once where the request itself may be to blame: HTTP 500, or an answer that broke off.
   */
  readonly failures?: number
  /**
   * How many requests the servers must have refused, before they answered any, until no more are sent, 20 by default: a
   * parameter is wrong, or the context is too short for all.
   */
  readonly refused?: number
  /**
   * How long nothing but failures must come until a server counts as down, 1 minute by default; the time that it asks to
   * be left alone is not counted. When all are down, no more requests are sent.
   */
  readonly patience?: Duration.Input
}

/** Provides a model made of servers. Throws a RangeError for a bad option. */
export const layer = (servers: ReadonlyArray<Server>, options?: Options): Layer.Layer<TextModel> =>
  Layer.succeed(TextModel, make(servers, options))

/**
 * Makes a model of servers.
 *
 * Once all servers are down, or one says that the key, the address or the model is bad, every request that is not in
 * flight fails as `stopped`. Throws a RangeError for a bad option.
 */
export const make = (servers: ReadonlyArray<Server>, options: Options = {}): Load => {
  const { start = 8, concurrency = 64, retries = 5, failures = 5, refused = 20 } = options
  Retry.requireInteger("the number of servers", servers.length, 1)
  Retry.requireInteger("start", start, 1)
  Retry.requireInteger("concurrency", concurrency, 1)
  Retry.requireInteger("retries", retries, 0)
  Retry.requireInteger("failures", failures, 1)
  Retry.requireInteger("refused", refused, 1)
  const longest = Retry.parseMaxRetryAfter(options.maxRetryAfter)
  const patience = Duration.toMillis(Retry.parseDuration("patience", options.patience ?? "1 minute"))
  const requests = Rate.make(options.requestsPerMinute)
  const tokens = Rate.make(options.tokensPerMinute)
  const lanes = servers.map(({ model, weight = 1 }): Lane => {
    if (!(weight > 0 && weight < Infinity)) throw new RangeError(`Cannot make a model: weight is ${weight}`)
    const most = concurrency * weight
    return { model, weight, failures: 0, pace: Pace.make({ start: start * weight, most, failures, patience, longest }) }
  })
  const name = [...new Set(lanes.map(({ model }) => model.name))].join(", ")

  const queue = new Set<Latch.Latch>()
  const stop = Deferred.makeUnsafe<never, ModelError>()
  const isStopped = (): boolean => Deferred.isDoneUnsafe(stop)
  let pending = 0
  // What answers were like so far, and when the first request came.
  const written = Rate.make()
  let answers = 0
  let refusals = 0
  let outputTokens = 0
  let begun: number | undefined

  /** Lets the first in the queue see whether it can go. */
  const wake = (): void => {
    const [first] = queue
    first?.openUnsafe()
  }

  const choose = (now: number, { preferred }: Asked, failed: Lane | undefined): Lane | undefined => {
    const isWell = ({ pace }: Lane): boolean => !pace.isOnTrial() && now >= pace.snapshot().until
    const free = lanes.filter(({ pace }) => pace.isFree(now))
    const others = free.filter((lane) => lane !== failed)
    // A request is not tried on one server that is away until it fails, while it could wait for another that is well.
    const choice = others.length > 0 || (failed?.pace.isOnTrial() && lanes.some(isWell)) ? others : free
    // A server on trial comes first: as long as others have room, it could not show that it is well again.
    return choice.find(({ pace }) => pace.isOnTrial()) ??
      choice.find((lane) => lane === preferred) ??
      choice.toSorted((one, other) => fill(one) - fill(other))[0]
  }

  /** Waits until a request is first in the queue, the rates have room, and a server is free; then begins it there. */
  const enter = (asked: Asked, failed: Lane | undefined, restore: Restore): Effect.Effect<Turn, ModelError> => {
    const latch = Latch.makeUnsafe()
    return Effect.gen(function* () {
      queue.add(latch)
      for (;;) {
        if (isStopped()) return yield* Deferred.await(stop)
        latch.closeUnsafe()
        const now = yield* Clock.currentTimeMillis
        const [first] = queue
        let until = Infinity
        if (first === latch) {
          const expected = asked.inputTokens + expectedOutput(asked.request)
          const room = Math.max(requests.freeAt(now, 1), tokens.freeAt(now, expected))
          const lane = room > now ? undefined : choose(now, asked, failed)
          if (lane !== undefined) {
            requests.spend(now, 1)
            return { asked, lane, number: lane.pace.begin(), correct: tokens.spend(now, expected) }
          }
          const pauses = lanes.map(({ pace }) => pace.snapshot().until).filter((at) => at > now)
          until = room > now ? room : Math.min(...pauses)
        }
        // Rounded up: a clock that is a hair short of it would be asked again and again.
        const wait = Math.ceil(until - now)
        const woken = wait < Infinity ? Effect.timeoutOption(latch.await, wait) : latch.await
        yield* restore(Effect.asVoid(woken))
      }
    }).pipe(Effect.ensuring(Effect.sync(() => {
      queue.delete(latch)
      wake()
    })))
  }

  const expectedOutput = ({ maxTokens }: Request): number =>
    answers === 0 ? maxTokens ?? 0 : Math.min(maxTokens ?? Infinity, Math.ceil(outputTokens / answers))

  /** Ends a turn: its slot is free again, and what came of it is learnt. */
  const leave = ({ asked, lane, number, correct }: Turn, exit: Exit.Exit<Answer, ModelError>, now: number): void => {
    const error = Option.getOrUndefined(Exit.findErrorOption(exit))
    if (Exit.isSuccess(exit)) {
      const { usage } = exit.value.finish
      const output = usage?.outputTokens ?? estimate(exit.value.parts.map(textOf).join(""))
      correct((usage?.inputTokens ?? asked.inputTokens) + output)
      written.spend(now, output)
      answers++
      outputTokens += output
    }
    if (error !== undefined && Retry.mayPass(error)) {
      lane.failures++
      const isOwn = isPerhapsOwn(error)
      // A request that fails again, while others were answered, says nothing of the server.
      if (isOwn && answers > (asked.answers ??= answers)) lane.pace.leave()
      else lane.pace.fail({ number, now, pause: error.retryAfter ?? 0, culprit: isOwn ? asked : {} })
      if (lanes.every(({ pace }) => pace.isDown(now))) breakOff(stateOf(error), error)
    } else if (Exit.isSuccess(exit) || error?.reason === "refused") {
      lane.pace.succeed()
      // Where nothing was ever answered, it is not the requests that are bad, but what they have in common.
      if (error !== undefined && ++refusals >= refused && answers === 0) {
        breakOff(`the first ${refusals} requests to ${name} were all refused, the last with: ${error.message}`, error)
      }
    } else {
      lane.pace.leave()
      if (error?.reason === "unauthorized" || error?.reason === "not-found") breakOff(error.message, error)
    }
    wake()
  }

  const stateOf = (error: ModelError): string => {
    const row = lanes.reduce((sum, { pace }) => sum + pace.snapshot().row, 0)
    const asked = Retry.tooLong(error, longest)
    const all = row === 1
      ? `the last request to ${name} failed`
      : `the last ${row} requests to ${name} all failed, the last`
    return `${all} with: ${error.message}${asked === undefined || error.message.includes(asked) ? "" : ` (${asked})`}`
  }

  const breakOff = (state: string, { status, retryAfter }: ModelError): void => {
    const error = new ModelError({
      reason: "stopped",
      message: `Cannot go on: ${state}`,
      ...status !== undefined && { status },
      ...retryAfter !== undefined && { retryAfter }
    })
    Deferred.doneUnsafe(stop, Effect.fail(error))
  }

  const once = (asked: Asked, failed: Lane | undefined) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const turn = yield* enter(asked, failed, restore)
        const exit = yield* Effect.exit(restore(collect(turn.lane.model, asked.request)))
        leave(turn, exit, yield* Clock.currentTimeMillis)
        return { lane: turn.lane, exit }
      })
    )

  const answer = Effect.fnUntraced(function* (request: Request) {
    begun ??= yield* Clock.currentTimeMillis
    const asked: Asked = {
      request,
      inputTokens: estimateUsage(request, "").inputTokens,
      preferred: prefer(lanes, request)
    }
    let failed: Lane | undefined
    for (let tries = 1;; tries++) {
      const { lane, exit } = yield* once(asked, failed)
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      const isLast = error === undefined || !Retry.mayPass(error) || (tries > retries && !isStopped())
      if (isLast) return (yield* Effect.mapError(exit, asUnbegun)).parts
      failed = lane
      yield* Effect.raceFirst(Effect.flatMap(Retry.backoff(tries), Effect.sleep), Deferred.await(stop))
    }
  })

  return {
    name,
    generate: (request) =>
      Stream.fromIterableEffect(
        Effect.acquireUseRelease(
          Effect.sync(() => pending++),
          () => answer(request),
          () => Effect.sync(() => pending--)
        )
      ),
    status: Effect.map(Clock.currentTimeMillis, (now) => {
      const servers = lanes.map(({ model, pace, failures }): ServerStatus => {
        const { limit, inFlight, until } = pace.snapshot()
        return { name: model.name, limit, inFlight, failures, pause: Math.max(0, until - now) }
      })
      return {
        servers,
        waiting: pending - servers.reduce((sum, { inFlight }) => sum + inFlight, 0),
        tokensPerSecond: written.spent(now) / Math.min(60, Math.max(1, (now - (begun ?? now)) / 1000))
      }
    })
  }
}

/** A server, and what is known of it. */
interface Lane {
  readonly model: TextModel
  readonly weight: number
  readonly pace: Pace.Pace
  failures: number
}

/** A request at all of its tries. */
interface Asked {
  readonly request: Request
  readonly inputTokens: number
  readonly preferred: Lane
  /** How many requests had been answered when it failed first for what may be its own fault. */
  answers?: number
}

/** A try that has begun. */
interface Turn {
  readonly asked: Asked
  readonly lane: Lane
  readonly number: number
  readonly correct: (tokens: number) => void
}

interface Answer {
  readonly parts: ReadonlyArray<Part>
  readonly finish: Finish
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Reads an answer to its end. */
const collect = (model: TextModel, request: Request): Effect.Effect<Answer, ModelError> =>
  Effect.flatMap(Stream.runCollect(model.generate(request)), (parts) => {
    const finish = parts.find((part) => part._tag === "Finish")
    return finish === undefined ? Effect.fail(unfinished(model)) : Effect.succeed({ parts, finish })
  })

/** An error of an answer that broke off, of which nothing was handed on: to whoever asked it had not begun. */
const asUnbegun = (error: ModelError): ModelError => {
  const { reason, message, status } = error
  return reason === "interrupted"
    ? new ModelError({ reason: "failed", message, ...status !== undefined && { status } })
    : error
}

/** Whether the request itself may be to blame, and another may pass meanwhile. */
const isPerhapsOwn = ({ reason, status = 500 }: ModelError): boolean =>
  reason === "interrupted" || (reason === "failed" && status === 500)

/** How full a server would be with one request more, as a share of its limit. */
const fill = ({ pace }: Lane): number => {
  const { inFlight, limit } = pace.snapshot()
  return (inFlight + 1) / limit
}

/**
 * The server that requests which begin alike prefer: those of one question share a long prefix, which the server that
 * read it last has cached. What stands before the user's first message may be the same for all questions.
 */
const prefer = (lanes: ReadonlyArray<Lane>, { messages }: Request): Lane => {
  const question = messages.findIndex(({ role }) => role === "user")
  let point = hash(messages.slice(0, question + 1).map(({ content }) => content).join("\n")) / 2 ** 32 *
    lanes.reduce((sum, { weight }) => sum + weight, 0)
  return lanes.find(({ weight }) => (point -= weight) < 0) ?? lanes[0]!
}

/** FNV-1a, mixed so that short texts spread over all 32 bits. */
const hash = (text: string): number => {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  return (value ^ (value >>> 13)) >>> 0
}

const textOf = (part: Part): string => part._tag === "Finish" ? "" : part.text
