/** A byte and its answer, one after the other, by the echo that the small guest has on port 7. */
import { connect } from 'node:net'

/** Until `isOver`, which is asked after each. Gives what each took, milliseconds. */
export async function roundTrips(address: string, isOver: (done: number) => boolean): Promise<number[]> {
  const socket = connect({ host: address, port: 7, noDelay: true })
  const trips: number[] = []
  const answers = socket[Symbol.asyncIterator]()
  try {
    do {
      const began = performance.now()
      socket.write('x')
      if ((await answers.next()).done === true) throw new Error('the guest has closed its echo')
      trips.push(performance.now() - began)
    } while (!isOver(trips.length))
  } finally {
    socket.destroy()
  }
  return trips
}

/** The 99th of 100, the slowest but one of each hundred. */
export function p99(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? Number.NaN
}
