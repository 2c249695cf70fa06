import * as lateforge from 'lateforge'
import * as scoring from 'lateforge/maxsim'
import { embed } from '../../../embed.mjs'

export const dynamic = 'force-dynamic'

export async function GET(request) {
  try {
    return Response.json(await embed(lateforge, scoring, new URL(request.url).searchParams.get('folder')))
  } catch (error) {
    return new Response(`${error.code}: ${error.message}`, { status: 500 })
  }
}
