/** Routes of alarms, and of who is told of them. */
import { Alarm, AlarmSettings, alarmSeverities, ChangeAlarmSettings } from '../alarms.ts'
import { CreateNotificationTarget, NotificationTarget, NotificationTest } from '../notifications.ts'
import { OneOf, Strict, Type } from '../schema.ts'
import { EmptyBody, ListQuery, Nothing, Page, paging, route } from './row.ts'

const targets = '/v1/notification-targets'

export const alarmRoutes = {
  listAlarms: route({
    method: 'GET',
    path: '/v1/alarms',
    summary: 'List alarms, newest id first; without `state` the open ones',
    group: 'alarms',
    role: 'reader',
    query: Strict({
      ...paging,
      state: Type.Optional(Type.String({ description: 'raised, acknowledged, cleared; several with commas; or all' })),
      severity: Type.Optional(OneOf(alarmSeverities)),
      subject: Type.Optional(Type.String({ maxLength: 80, description: 'id of what it is about' })),
    }),
    response: Page(Alarm),
    status: 200,
  }),

  getAlarm: route({
    method: 'GET',
    path: '/v1/alarms/{alarm}',
    summary: 'Show an alarm',
    group: 'alarms',
    role: 'reader',
    response: Alarm,
    status: 200,
  }),

  acknowledgeAlarm: route({
    method: 'POST',
    path: '/v1/alarms/{alarm}/acknowledge',
    summary: 'Say that somebody takes care of it',
    group: 'alarms',
    role: 'operator',
    body: EmptyBody,
    response: Alarm,
    status: 200,
  }),

  clearAlarm: route({
    method: 'POST',
    path: '/v1/alarms/{alarm}/clear',
    summary: 'Clear an alarm; while its condition lasts it is not raised again for a day',
    group: 'alarms',
    role: 'operator',
    body: EmptyBody,
    response: Alarm,
    status: 200,
  }),

  getAlarmSettings: route({
    method: 'GET',
    path: '/v1/alarm-settings',
    summary: 'Thresholds of alarms',
    group: 'alarms',
    role: 'reader',
    response: AlarmSettings,
    status: 200,
  }),

  setAlarmSettings: route({
    method: 'PUT',
    path: '/v1/alarm-settings',
    summary: 'Set the thresholds; what is not given becomes the default',
    group: 'alarms',
    role: 'administrator',
    body: ChangeAlarmSettings,
    response: AlarmSettings,
    status: 200,
  }),

  changeAlarmSettings: route({
    method: 'PATCH',
    path: '/v1/alarm-settings',
    summary: 'Change some of the thresholds',
    group: 'alarms',
    role: 'administrator',
    body: ChangeAlarmSettings,
    response: AlarmSettings,
    status: 200,
  }),

  listNotificationTargets: route({
    method: 'GET',
    path: targets,
    summary: 'List who is told of alarms; secrets are never shown',
    group: 'alarms',
    role: 'reader',
    query: ListQuery,
    response: Page(NotificationTarget),
    status: 200,
  }),

  createNotificationTarget: route({
    method: 'POST',
    path: targets,
    summary: 'Have a webhook or an e-mail address told of alarms',
    group: 'alarms',
    role: 'administrator',
    body: CreateNotificationTarget,
    response: NotificationTarget,
    status: 201,
  }),

  getNotificationTarget: route({
    method: 'GET',
    path: `${targets}/{target}`,
    summary: 'Show a notification target',
    group: 'alarms',
    role: 'reader',
    response: NotificationTarget,
    status: 200,
  }),

  removeNotificationTarget: route({
    method: 'DELETE',
    path: `${targets}/{target}`,
    summary: 'Tell it nothing any more; what it is owed is forgotten',
    group: 'alarms',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),

  testNotificationTarget: route({
    method: 'POST',
    path: `${targets}/{target}/test`,
    summary: 'Send a test message now, once, and say what the other side answered',
    group: 'alarms',
    role: 'administrator',
    body: EmptyBody,
    response: NotificationTest,
    status: 200,
  }),
} as const
