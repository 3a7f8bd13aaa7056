/** Which use case answers which route of alarms and of who is told of them. */
import type { AlarmDesk } from './alarms.ts'
import type { ApiHandlers } from './api.ts'
import type { NotificationTargets } from './notification-targets.ts'

interface Desks {
  readonly alarms: AlarmDesk
  readonly notificationTargets: NotificationTargets
}

export function alarmHandlers({
  alarms,
  notificationTargets: targets,
}: Desks): Pick<
  ApiHandlers,
  | 'listAlarms'
  | 'getAlarm'
  | 'acknowledgeAlarm'
  | 'clearAlarm'
  | 'getAlarmSettings'
  | 'setAlarmSettings'
  | 'changeAlarmSettings'
  | 'listNotificationTargets'
  | 'createNotificationTarget'
  | 'getNotificationTarget'
  | 'removeNotificationTarget'
  | 'testNotificationTarget'
> {
  return {
    listAlarms: ({ query }) => alarms.list(query),
    getAlarm: ({ params }) => alarms.get(params.alarm),
    acknowledgeAlarm: ({ params }, { caller }) => alarms.acknowledge(params.alarm, caller),
    clearAlarm: ({ params }, { caller }) => alarms.clear(params.alarm, caller),
    getAlarmSettings: () => alarms.settings(),
    setAlarmSettings: ({ body }, { caller }) => alarms.setSettings(body, true, caller),
    changeAlarmSettings: ({ body }, { caller }) => alarms.setSettings(body, false, caller),
    listNotificationTargets: ({ query }) => targets.list(query),
    createNotificationTarget: ({ body }, { caller }) => targets.create(body, caller),
    getNotificationTarget: ({ params }) => targets.get(params.target),
    removeNotificationTarget: ({ params }, { caller }) => targets.remove(params.target, caller),
    testNotificationTarget: ({ params }, { caller, signal }) => targets.test(params.target, caller, signal),
  }
}
