/** Routes of datastores, images and uploads. */
import { CreateDatastore, Datastore, Image, ImportImage, Task, Upload } from '../inventory.ts'
import { Count, Strict, Type } from '../schema.ts'
import { ListQuery, Nothing, Page, route } from './row.ts'

export const storageRoutes = {
  listDatastores: route({
    method: 'GET',
    path: '/v1/datastores',
    summary: 'List datastores',
    group: 'storage',
    role: 'reader',
    query: ListQuery,
    response: Page(Datastore),
    status: 200,
  }),

  createDatastore: route({
    method: 'POST',
    path: '/v1/datastores',
    summary: 'Add a datastore',
    group: 'storage',
    role: 'administrator',
    body: CreateDatastore,
    response: Datastore,
    status: 201,
  }),

  removeDatastore: route({
    method: 'DELETE',
    path: '/v1/datastores/{datastore}',
    summary: 'Forget an empty datastore',
    group: 'storage',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),

  listImages: route({
    method: 'GET',
    path: '/v1/images',
    summary: 'List images',
    group: 'storage',
    role: 'reader',
    query: ListQuery,
    response: Page(Image),
    status: 200,
  }),

  importImage: route({
    method: 'POST',
    path: '/v1/images',
    summary: 'Import an image from a path or a complete upload',
    group: 'storage',
    role: 'operator',
    body: ImportImage,
    response: Task,
    status: 202,
  }),

  deleteImage: route({
    method: 'DELETE',
    path: '/v1/images/{image}',
    summary: 'Delete an image',
    group: 'storage',
    role: 'operator',
    response: Nothing,
    status: 204,
  }),

  createUpload: route({
    method: 'POST',
    path: '/v1/uploads',
    summary: 'Begin an upload',
    group: 'storage',
    role: 'operator',
    body: Strict({ sizeBytes: Count, datastore: Type.Optional(Type.String()) }),
    response: Upload,
    status: 201,
  }),

  getUpload: route({
    method: 'GET',
    path: '/v1/uploads/{upload}',
    summary: 'How much of an upload is there',
    group: 'storage',
    role: 'operator',
    response: Upload,
    status: 200,
  }),

  /** The body is raw bytes (application/octet-stream), appended at `?offset=`. */
  appendUpload: route({
    method: 'PUT',
    path: '/v1/uploads/{upload}',
    summary: 'Send the next piece of an upload',
    group: 'storage',
    role: 'operator',
    query: Strict({ offset: Count }),
    response: Upload,
    status: 200,
  }),
} as const
