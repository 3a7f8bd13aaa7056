/** A host's agent by the host's id: where it is reached is looked up at each call, since a host may join again elsewhere. */
import type { AgentApi } from '../../contracts/agent-api.ts'

export function lazyAgent(find: () => Promise<AgentApi>): AgentApi {
  return {
    report: async (signal) => (await find()).report(signal),
    configure: async (configuration) => (await find()).configure(configuration),
    observe: async (vm) => (await find()).observe(vm),
    start: async (deployment) => (await find()).start(deployment),
    stop: async (vm, request) => (await find()).stop(vm, request),
    signal: async (vm, request) => (await find()).signal(vm, request),
    prepareIncoming: async (request) => (await find()).prepareIncoming(request),
    discardIncoming: async (vm, generation) => (await find()).discardIncoming(vm, generation),
    releaseIncoming: async (vm, generation) => (await find()).releaseIncoming(vm, generation),
    settle: async (vm, request) => (await find()).settle(vm, request),
    prepareSecond: async (request) => (await find()).prepareSecond(request),
    discardSecond: async (vm, n) => (await find()).discardSecond(vm, n),
    unprotect: async (vm, request) => (await find()).unprotect(vm, request),
    changeArbiter: async (vm, request) => (await find()).changeArbiter(vm, request),
    arbiterLife: async () => (await find()).arbiterLife(),
    arbiterOpen: async (request) => (await find()).arbiterOpen(request),
    arbiterClaim: async (request) => (await find()).arbiterClaim(request),
    arbiterLook: async (request) => (await find()).arbiterLook(request),
    arbiterSupersede: async (request) => (await find()).arbiterSupersede(request),
    probe: async (vm, request) => (await find()).probe(vm, request),
    serialTail: async (vm) => (await find()).serialTail(vm),
    startJob: async (request) => (await find()).startJob(request),
    job: async (id) => (await find()).job(id),
    cancelJob: async (id) => (await find()).cancelJob(id),
    upload: async (id, datastore, offset, body) => (await find()).upload(id, datastore, offset, body),
    uploadStatus: async (id, datastore) => (await find()).uploadStatus(id, datastore),
    screenshot: async (vm) => (await find()).screenshot(vm),
    console: async (vm, kind) => (await find()).console(vm, kind),
    deleteDisk: async (disk, datastore, task) => (await find()).deleteDisk(disk, datastore, task),
    deleteImage: async (image, datastore) => (await find()).deleteImage(image, datastore),
    startUpgrade: async (request) => (await find()).startUpgrade(request),
    tellRecord: async (record) => (await find()).tellRecord(record),
  }
}
