/**
 * services.xml of an application of Vespa: one container, one node with documents of one type, which is the cluster's name too.
 * @param components XML of what else the container has
 */
export const vespaServices = (document: string, components = ''): string => `<?xml version="1.0" encoding="utf-8" ?>
<!-- Written by lateforge. -->
<services version="1.0">
  <container id="default" version="1.0">${components}
    <search/>
    <document-api/>
  </container>
  <content id="${document}" version="1.0">
    <min-redundancy>1</min-redundancy>
    <documents>
      <document type="${document}" mode="index"/>
    </documents>
    <nodes>
      <node distribution-key="0" hostalias="node1"/>
    </nodes>
  </content>
</services>
`
